"""Writes the results of the claims into the README and the pages of docs, between their markers.

    python -m experiments.render

A marker names a claim and one of its blocks, `<!-- results fit.models -->`, and `<!-- end -->`
closes it.  What stands between is a function of the files in experiments/results alone; a test
fails where it is stale.  The functions stand beside what computes the numbers, in the claim's
module, in its dictionary BLOCKS.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import click

from experiments import (
    ablation,
    accelerator,
    ceiling,
    cluster,
    coverage,
    fit,
    grids,
    growth,
    head_damage,
    large_run,
    proposers_compared,
    pruning,
    question_answering,
    replacement_curve,
    replacement_travel,
    residual,
    richness,
    safety_and_speed,
    sameness,
    short_texts,
    stages,
    stories,
    streaming,
    three_heads,
    travel,
)
from experiments.results import FOLDER, ROOT, read
from experiments.tables import Block
from grammar.errors import InputError

MODULES = (
    fit,
    grids,
    three_heads,
    replacement_curve,
    replacement_travel,
    head_damage,
    richness,
    question_answering,
    stories,
    coverage,
    travel,
    short_texts,
    residual,
    ceiling,
    stages,
    ablation,
    safety_and_speed,
    growth,
    accelerator,
    streaming,
    cluster,
    large_run,
    proposers_compared,
    pruning,
    sameness,
)
CLAIMS: Mapping[str, Mapping[str, Block]] = {
    module.__name__.rpartition(".")[2]: module.BLOCKS for module in MODULES
}
PAGES = (
    ROOT / "README.md",
    *(ROOT / "docs" / name for name in ("results.md", "speed.md", "library.md", "language.md")),
)

_BLOCK = re.compile(r"(<!-- results (\w+)\.(\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def rendered(
    page: str, folder: Path = FOLDER, claims: Mapping[str, Mapping[str, Block]] = CLAIMS
) -> str:
    """The page with everything between its markers written anew.

    InputError where a marker names no block, is not closed, or there are no results for it.
    """

    def fill(match: re.Match[str]) -> str:
        begin, name, block, old, end = match.groups()
        if "<!-- results" in old:
            raise InputError(f"the block {name}.{block} is not closed by {end}")
        if block not in claims.get(name, {}):
            raise InputError(f"the marker {begin.strip()} names no block of a claim")
        return f"{begin}{claims[name][block](read(name, folder)).strip()}\n{end}"

    return _BLOCK.sub(fill, page)


@click.command()
def main() -> None:
    """Rewrite the pages."""
    for path in PAGES:
        page = path.read_text(encoding="utf-8")
        path.write_text(rendered(page), encoding="utf-8")


if __name__ == "__main__":
    main()
