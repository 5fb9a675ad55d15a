"""What replaced heads cost on texts of other kinds and lengths than their programs were made on.

    python -m experiments.replacement_travel --texts stories --texts code --tokens 96 --tokens 512

The heads are replaced in the order of damage on the select documents of the first texts, so that
nothing is chosen on what is reported.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from experiments.replacement_curve import curve_of, measured, rise
from experiments.results import about_texts, write
from experiments.sources import at_least, source_texts
from experiments.stand_ins import stand_ins, texts_seen
from experiments.subject import model_options, opened
from experiments.tables import Block, table
from grammar.errors import InputError
from interpreter.capture import check_texts
from interpreter.models import LoadedModel
from interpreter.texts import Texts
from synth.faithfulness import reported_and_ordering
from synth.replace_command import parse_fractions

CLAIM = "What replaced heads cost on other kinds of text, and on longer ones."


def sources_of(
    names: Sequence[str], library: Path, order_texts: str | None, limit: int | None
) -> tuple[list[Texts], Texts]:
    """The texts to report on, and the documents that the order comes from.

    Of texts that the programs were made from only the test documents are reported on, and of none
    those that the order comes from.
    """
    seen = texts_seen(library)
    first, ordering = reported_and_ordering(names[0], order_texts, seen)
    others = [source_texts(name) for name in names[1:]]
    found = [first, *(texts.split()["test"] if texts.sha256 in seen else texts for texts in others)]
    used = set(ordering.documents)
    left = [Texts(t.name, tuple(d for d in t.documents if d not in used)) for t in found]
    return [Texts(t.name, t.documents[:limit]) for t in left], ordering


def curves(
    loaded: LoadedModel,
    library: Path,
    sources: Sequence[Texts],
    ordering: Texts,
    shares: Sequence[float],
    lengths: Sequence[int],
    choice: str | None,
    every: int,
) -> list[dict[str, Any]]:
    """For every source and length that it reaches: the rise of perplexity at each share."""
    programs = {"chosen": stand_ins(library, loaded, choice, max(lengths), every)}
    order = programs["chosen"].ordered("damage", ordering, min(lengths))
    for source in sources:
        check_texts(loaded, source, max(lengths))
    series = ("chosen", "damage")
    found = []
    for source in sources:
        for tokens in lengths:
            long = at_least(loaded, source, tokens, len(source.documents))
            if not long.documents:
                continue
            losses = measured(loaded, long, programs, {series: order}, shares, tokens)
            found.append(
                {
                    "texts": source.name,
                    "sha256": long.sha256,
                    "documents": len(long.documents),
                    "max_tokens": tokens,
                    "tokens": sum(losses.tokens),
                    "base_perplexity": losses.base_perplexity,
                    "curve": curve_of(losses, series, shares, len(order)),
                }
            )
    if not found:
        raise InputError(f"no text has {min(lengths)} tokens: ask for fewer by --tokens")
    return found


def rises(records: Sequence[Mapping[str, Any]]) -> str:
    """A row for every model, source and length."""
    shares = [point["fraction"] for point in records[0]["results"]["sources"][0]["curve"]]
    rows = [
        [
            f"{record['model']['name']}, {found['texts']}",
            str(found["max_tokens"]),
            str(found["documents"]),
            f"{found['tokens']:,}",
            f"{found['base_perplexity']:.2f}",
            *map(rise, found["curve"]),
        ]
        for record in records
        for found in record["results"]["sources"]
    ]
    titles = ["", "tokens", "documents", "predicted", "perplexity", *(f"{s:.0%}" for s in shares)]
    return table(titles, rows)


BLOCKS: dict[str, Block] = {"rises": rises}


@click.command()
@model_options
@click.option(
    "--texts",
    multiple=True,
    default=["stories"],
    help="May be repeated; after the first, `code` and files of questions too.",
)
@click.option("--order-texts", help="As of `headscript replace`.")
@click.option("--fractions", default="0.1,0.25,0.5,1", show_default=True)
@click.option("--choice", help="Which choice of each head.  [default: the most faithful]")
@click.option("--tokens", multiple=True, default=[96, 256, 512], type=click.IntRange(2))
def main(
    model: str,
    library: str | None,
    every: int,
    limit: int | None,
    output: Path,
    texts: Sequence[str],
    order_texts: str | None,
    fractions: str,
    choice: str | None,
    tokens: Sequence[int],
) -> None:
    """Measure the perplexity of models with heads replaced on texts of many kinds and lengths."""
    place, loaded = opened(model, library)
    shares = parse_fractions(fractions)
    sources, ordering = sources_of(texts, place, order_texts, limit)
    found = curves(loaded, place, sources, ordering, shares, tokens, choice, every)
    write(
        "replacement_travel",
        claim=CLAIM,
        blocks=BLOCKS,
        results={"order": "damage", "sources": found},
        loaded=loaded,
        texts=[about_texts(texts) for texts in (*sources, ordering)],
        library=place,
        seed=0,
        folder=output,
    )


if __name__ == "__main__":
    main()
