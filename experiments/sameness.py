"""How many programs of a full run are the same, how long they are, and how long with named parts.

    python -m experiments.sameness --library demo/minilm-l6.sqlite

A library of everything is needed: an export of the choices alone has no proposals.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean, median
from typing import Any

import click

from experiments.results import FOLDER, about_library, write
from experiments.tables import Block, table
from grammar.errors import InputError
from synth.chosen import MOST_FAITHFUL
from synth.library import Library
from synth.library_compress import compress
from synth.library_stats import stats
from synth.library_view import program_tree, terms

CLAIM = "How many programs of a full run are the same in text or in what they do."


@click.command()
@click.option(
    "--library", "libraries", type=click.Path(path_type=Path), multiple=True, required=True
)
@click.option("--output", type=click.Path(path_type=Path), default=FOLDER, help="Results folder.")
def sameness(libraries: Sequence[Path], output: Path) -> None:
    """Count both kinds of duplicates in libraries of full runs."""
    found = [about(library) for library in libraries]
    write("sameness", claim=CLAIM, blocks=BLOCKS, results={"libraries": found}, folder=output)


def about(path: Path) -> dict[str, Any]:
    """What a library holds of each kind of sameness; InputError where it holds no proposals."""
    with Library.open(path) as library:
        counted = asdict(stats(library))
        models = [chosen.model for chosen in library.models()]
        again = Counter(p.stage for p in library.proposals() if p.status == "duplicate")
        trees = {c.text: program_tree(library, c) for c in library.choices()}
        kinds = {kind: sizes_of(library, kind) for kind in MOST_FAITHFUL}
    if not counted["proposals"]:
        raise InputError(f"{path} holds no proposals: name the library of a run, not an export")
    compressed = compress(list(trees.values()))
    numbers = ("proposals", "programs", "text_duplicates", "behaviour_duplicates", "choices")
    return {
        "library": about_library(path),
        "models": models,
        **{name: counted[name] for name in numbers},
        "behaviour_groups": len(counted["behaviour_groups"]),
        "trivial_duplicates": again["trivial"],
        "definitions": len(compressed.definitions),
        "symbols_before": compressed.symbols_before,
        "symbols_after": compressed.symbols_after,
        "kinds": kinds,
    }


def sizes_of(library: Library, kind: str) -> dict[str, float]:
    """How many terms the choices of a kind have."""
    sizes = [terms(program_tree(library, chosen)) for chosen in library.choices(choice=kind)]
    if not sizes:
        return {"heads": 0}
    return {
        "heads": len(sizes),
        "mean_terms": mean(sizes),
        "median_terms": median(sizes),
        "most_terms": max(sizes),
    }


def sizes(records: Sequence[Mapping[str, Any]]) -> str:
    """A table of how long the programs of each kind of choice are."""
    rows = [
        [
            f"{', '.join(one['models'])}, {kind}",
            str(of_kind["heads"]),
            f"{of_kind['mean_terms']:.1f}",
            f"{of_kind['median_terms']:g}",
            str(of_kind["most_terms"]),
        ]
        for record in records
        for one in record["results"]["libraries"]
        for kind, of_kind in one["kinds"].items()
        if of_kind["heads"]
    ]
    return table(["choice", "heads", "terms on average", "median", "most"], rows)


def duplicates(records: Sequence[Mapping[str, Any]]) -> str:
    """A table of both kinds of sameness, and of description lengths, a row for each library."""
    titles = ["model", "proposals", "equal text", "of them trivial", "programs"]
    titles += ["equal behaviour", "symbols", "with named parts"]
    rows = [
        [
            ", ".join(one["models"]),
            f"{one['proposals']:,}",
            f"{one['text_duplicates']:,}",
            f"{one['trivial_duplicates']:,}",
            f"{one['programs']:,}",
            f"{one['behaviour_duplicates']:,}",
            f"{one['symbols_before']:,}",
            f"{one['symbols_after']:,}",
        ]
        for record in records
        for one in record["results"]["libraries"]
    ]
    return table(titles, rows)


BLOCKS: dict[str, Block] = {"duplicates": duplicates, "sizes": sizes}

if __name__ == "__main__":
    sameness()
