"""What richer programs are worth in the heads' places: more parts of a mixture, and guards.

    python -m experiments.richness --texts my.jsonl

Programs of each size are grown by output error on train documents, as `headscript tune` grows
them, and nothing is tuned after.  All replace the same heads: in the order of damage, on select
documents, of the library's programs that were chosen by IoU, which are reported beside.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

from experiments.replacement_curve import curve_of, measured, rise
from experiments.results import about_texts, write
from experiments.stand_ins import StandIns, stand_ins
from experiments.subject import model_options, opened
from experiments.tables import Block, table, with_interval
from grammar import limits
from interpreter.capture import check_texts
from interpreter.models import LoadedModel
from interpreter.progress import progress_bar
from interpreter.scores import output_error
from interpreter.statistics import bootstrap_ci95
from interpreter.texts import Texts, load_texts
from synth.faithful_run import pool_for, seen_on, terms_of
from synth.library_view import terms
from synth.output_growing import OutputGrower, Richness
from synth.replace_command import parse_fractions

CLAIM = "Programs of more parts, and with guards, write more of what their heads write."
BY_IOU = "chosen by IoU"
SHARES = "0.1,0.25,0.5,1"


def grown(
    programs: StandIns, train: Texts, parts: Sequence[int], tokens: int
) -> dict[str, StandIns]:
    """Programs of every size for the heads of those chosen by IoU, without and with guards."""
    heads = list(programs.trees)
    seen = seen_on(programs.loaded, train, heads, tokens, programs.loaded.facts_of)
    grower = OutputGrower(seen.patterns, seen.rows, pool_for(list(programs.trees.values())))
    found = {}
    with progress_bar() as bar:
        task = bar.add_task("Growing by output error", total=2 * len(parts) * len(heads))
        for guards in (False, True):
            for most in parts:
                richness, trees = Richness(most, guards), {}
                for head in heads:
                    trees[head] = grower.grow(head, richness, terms_of(programs.trees[head]))
                    bar.advance(task)
                title = f"up to {most} parts" + (", guards" if guards else "")
                found[title] = replace(programs, trees=trees)
    return found


def errors_of(
    kinds: Mapping[str, StandIns], loaded: LoadedModel, texts: Texts, tokens: int
) -> dict[str, dict[str, Any]]:
    """The mean output error of each kind of programs, with its interval over documents."""
    some = next(iter(kinds.values()))
    heads = list(some.trees)
    seen = seen_on(loaded, texts, heads, tokens, loaded.facts_of)
    found = {}
    for title, programs in kinds.items():
        errors = [
            output_error(
                seen.patterns.head(head),
                seen.rows.placed(seen.evaluator.matrices(programs.trees[head])),
                seen.patterns.values[:, index],
            )
            for index, head in enumerate(heads)
        ]
        by_document = torch.stack(errors).mean(0).tolist()
        mean = sum(by_document) / len(by_document)
        found[title] = {"output_error": mean, "ci95": bootstrap_ci95(by_document)}
    return found


def richness_block(records: Sequence[Mapping[str, Any]]) -> str:
    """A row for every model and kind of programs."""
    rows = []
    for record in records:
        for kind in record["results"]["kinds"]:
            rows.append(
                [
                    f"{record['model']['name']}, {kind['programs']}",
                    f"{kind['mean_terms']:.1f}",
                    with_interval(kind["output_error"], kind["ci95"]),
                    *map(rise, kind["curve"]),
                ]
            )
    shares = [f"{point['fraction']:.0%}" for point in records[0]["results"]["kinds"][0]["curve"]]
    return table(["programs", "terms on average", "output error", *shares], rows)


BLOCKS: dict[str, Block] = {"kinds": richness_block}


@click.command()
@model_options
@click.option("--texts", default="stories", show_default=True)
@click.option("--parts", multiple=True, type=click.IntRange(1, limits.MAX_PARTS), default=[2, 4, 8])
@click.option("--documents", default=24, show_default=True, help="Train documents to grow on.")
@click.option("--fractions", default=SHARES, show_default=True)
@click.option("--max-tokens", type=click.IntRange(2), default=96, show_default=True)
def main(
    model: str,
    library: str | None,
    every: int,
    limit: int | None,
    output: Path,
    texts: str,
    parts: Sequence[int],
    documents: int,
    fractions: str,
    max_tokens: int,
) -> None:
    """Grow programs of several sizes by output error, and measure what replaced heads cost."""
    shares = parse_fractions(fractions)
    place, loaded = opened(model, library)
    whole = load_texts(texts, limit)
    check_texts(loaded, whole, max_tokens)
    split = whole.split()
    train = Texts(split["train"].name, split["train"].documents[:documents])
    by_iou = stand_ins(place, loaded, "iou", max_tokens, every)
    kinds = {BY_IOU: by_iou, **grown(by_iou, train, parts, max_tokens)}
    errors = errors_of(kinds, loaded, split["test"], max_tokens)
    order = by_iou.ordered("damage", split["select"], max_tokens)
    orders = {(title, "damage"): order for title in kinds}
    losses = measured(loaded, split["test"], kinds, orders, shares, max_tokens)
    found = []
    for title, programs in kinds.items():
        sizes = [terms(tree) for tree in programs.trees.values()]
        curve = curve_of(losses, (title, "damage"), shares, len(order))
        about = {"programs": title, "mean_terms": sum(sizes) / len(sizes), "curve": curve}
        found.append(about | errors[title])
    write(
        "richness",
        claim=CLAIM,
        blocks=BLOCKS,
        loaded=loaded,
        texts=[about_texts(some) for some in (train, split["select"], split["test"])],
        library=place,
        seed=0,
        results={"heads": len(order), "kinds": found},
        folder=output,
    )


if __name__ == "__main__":
    main()
