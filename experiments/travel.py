"""How far programs travel: to other texts, to other lengths, to other models.

    python -m experiments.travel --model smollm2-135m --texts stories --texts code

The stored program of each head is scored on every source of texts, cut to several lengths; of a
source only the documents that are as long are used, and of the texts that the library was made
from only the test documents.  Then the programs of other libraries are tried on this model's heads:
chosen for each head on the select documents of the first source, reported on its test documents.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from experiments.pictures import new_figure, save
from experiments.results import about_library, about_texts, file_stem, write
from experiments.scoring import best_for_heads, ious_of_chosen, mean_over_heads
from experiments.sources import at_least, chunks, source_texts
from experiments.stand_ins import texts_seen
from experiments.subject import (
    LIBRARIES,
    Programs,
    load_programs,
    model_options,
    opened,
    runnable,
    sampled,
)
from experiments.tables import table, with_interval
from interpreter.capture import Head, capture
from interpreter.models import LoadedModel
from interpreter.texts import Texts
from synth.library import Library
from synth.scorer import Scorer
from synth.summary import TRIVIAL

CLAIM = (
    "Programs that were found on one kind of text at one length predict the same heads on other "
    "texts and lengths, though less well; programs of one model say something of another."
)
LENGTHS = (32, 96, 256, 512)
CROSS_TOKENS = 96
TOKENS = 24 * 512
"""Read of a source at each length, at most."""
FEWEST = 8
"""Documents of a length; the interval of fewer would say nothing."""
MATRIX_ELEMENTS = 150_000_000
"""Captured at once: 600 MB."""


@dataclass(frozen=True)
class Traveller:
    """A model with the programs that travel."""

    loaded: LoadedModel
    library: Path
    heads: list[Head]
    seen: set[str]
    """sha256 of the texts that the library was made from."""

    def programs(self, tokens: int) -> Programs:
        return load_programs(self.library, self.loaded, tokens)


def unseen(traveller: Traveller, texts: Texts) -> tuple[Texts, str]:
    """What of the texts the library's run did not choose by, and the name of that part."""
    if texts.sha256 in traveller.seen:
        return texts.split()["test"], "test"
    return texts, "all"


def at_length(traveller: Traveller, texts: Texts, tokens: int) -> dict[str, Any]:
    """Scores of the stored programs on documents of so many tokens."""
    programs = traveller.programs(tokens)
    heads = [head for head in traveller.heads if head in programs.own]
    size = max(1, MATRIX_ELEMENTS // (len(heads) * tokens * tokens))
    own: list[Tensor] = []
    rest: list[Tensor] = []
    trivial: list[Tensor] = []
    for some in chunks(texts, size):
        scorer = Scorer(capture(traveller.loaded, some, heads, tokens))
        full, without = ious_of_chosen(scorer, programs.own)
        own.append(full)
        rest.append(without)
        trivial.append(torch.stack([ious.T for ious in scorer.ious(TRIVIAL)]))
    # For each head the best on these very texts, which favours it.
    every = torch.cat(trivial, dim=-1)  # [program, head, text]
    best = every.mean(-1).argmax(0)
    chosen = every[best, torch.arange(len(heads))]
    return {
        "tokens": tokens,
        "documents": len(texts.documents),
        "heads": len(heads),
        "programs": len({programs.own[head] for head in heads}),
        "rejected": dict(programs.rejected),
        "own": mean_over_heads(torch.cat(own, dim=-1)),
        "own_no_sink": mean_over_heads(torch.cat(rest, dim=-1)),
        "best_trivial": mean_over_heads(chosen),
    }


def of_source(
    traveller: Traveller, texts: Texts, lengths: Sequence[int], limit: int | None
) -> dict[str, Any]:
    """Scores on one source at every length that the model and the documents have."""
    part, name = unseen(traveller, texts)
    found = []
    for tokens in lengths:
        if tokens <= traveller.loaded.max_tokens:
            most = min(limit or TOKENS, TOKENS // tokens)
            long = at_least(traveller.loaded, part, tokens, most)
            if len(long.documents) >= FEWEST:
                found.append(at_length(traveller, long, tokens))
    return {"texts": texts.name, "part": name, "lengths": found}


def of_other_models(
    traveller: Traveller, texts: Texts, others: Sequence[str | Path]
) -> dict[str, Any]:
    """Programs of other libraries on this model's heads, beside its own library's."""
    split = texts.split()
    select, test = (
        Scorer(capture(traveller.loaded, split[part], traveller.heads, CROSS_TOKENS))
        for part in ("select", "test")
    )
    pools = {"own": traveller.programs(CROSS_TOKENS).pool, "trivial": list(TRIVIAL)}
    about: dict[str, Any] = {}
    for place in others:
        with Library.open(place) as library:
            everything = [program.text for program in library.programs()]
            models = [of_model.model for of_model in library.models()]
        pool, rejected = runnable(everything, CROSS_TOKENS)
        pools[name := ", ".join(models)] = pool
        about[name] = about_library(place) | {"rejected": dict(rejected)}
    return {
        "tokens": CROSS_TOKENS,
        "libraries": about,
        "pools": {
            name: _chosen_from(pool, select, test) | {"programs": len(pool)}
            for name, pool in pools.items()
        },
    }


def _chosen_from(pool: Sequence[str], select: Scorer, test: Scorer) -> dict[str, Any]:
    full, rest = ious_of_chosen(test, best_for_heads(select, pool))
    return {"iou": mean_over_heads(full), "iou_no_sink": mean_over_heads(rest)}


def draw(sources: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    figure, axes = new_figure(1, 1, width=5.5, height=3.6)
    (axis,) = axes[0]
    for k, source in enumerate(sources):
        lengths = [at["tokens"] for at in source["lengths"]]
        for kind, style in (("own", "-o"), ("best_trivial", ":")):
            means = [at[kind]["mean_iou"] for at in source["lengths"]]
            label = f"{source['texts']}, {kind.replace('_', ' ')}"
            axis.plot(lengths, means, style, color=f"C{k}", label=label, markersize=3)
    axis.set_xscale("log", base=2)
    axis.set_ylim(0, 1)
    axis.set_xlabel("tokens")
    axis.set_ylabel("mean IoU")
    axis.set_title(title, fontsize=9)
    axis.legend(fontsize=6)
    save(figure, path)


KINDS = ("own", "own_no_sink", "best_trivial")


def texts_block(records: Sequence[dict[str, Any]]) -> str:
    """Every source at every length."""
    titles = ["", "tokens", "documents", "IoU", "without the first token", "best trivial"]
    rows = [
        [
            f"{record['model']['name']}, {_shown(source)}",
            str(at["tokens"]),
            str(at["documents"]),
            *(with_interval(at[kind]["mean_iou"], at[kind]["ci95"]) for kind in KINDS),
        ]
        for record in records
        for source in record["results"]["sources"]
        for at in source["lengths"]
    ]
    return table(titles, rows)


def at_96_block(records: Sequence[dict[str, Any]]) -> str:
    """Every source at the length that the programs were found at."""
    titles = ["", "heads", "distinct programs", "IoU", "without the first token", "best trivial"]
    rows = [
        [
            f"{record['model']['name']}, {at['documents']} documents of {_shown(source)}",
            str(at["heads"]),
            str(at["programs"]),
            *(with_interval(at[kind]["mean_iou"], at[kind]["ci95"]) for kind in KINDS),
        ]
        for record in records
        for source in record["results"]["sources"]
        for at in source["lengths"]
        if at["tokens"] == CROSS_TOKENS
    ]
    return table(titles, rows)


def _shown(source: dict[str, Any]) -> str:
    name = Path(source["texts"]).stem
    return f"{name} (held out)" if source["part"] == "test" else name


def models_block(records: Sequence[dict[str, Any]]) -> str:
    """Programs of one model on the heads of another."""
    rows = []
    for record in records:
        for name, pool in record["results"]["other_models"]["pools"].items():
            kinds = (pool["iou"], pool["iou_no_sink"])
            rows.append(
                [
                    f"{record['model']['name']}, programs: {name}",
                    str(pool["programs"]),
                    *(with_interval(of["mean_iou"], of["ci95"]) for of in kinds),
                ]
            )
    return table(["heads of", "programs", "IoU", "without the first token"], rows)


BLOCKS = {"texts": texts_block, "at_96": at_96_block, "models": models_block}


@click.command()
@model_options
@click.option(
    "--texts",
    "sources",
    multiple=True,
    default=("stories", "code"),
    show_default=True,
    help="`stories`, `code` (of Python itself), a file of texts, or a .jsonl of questions.",
)
@click.option("--tokens", "lengths", multiple=True, default=LENGTHS, show_default=True)
@click.option("--other-library", "others", multiple=True, help="Default: all others shipped.")
def main(
    model: str,
    library: str | None,
    every: int,
    limit: int | None,
    output: Path,
    sources: tuple[str, ...],
    lengths: tuple[int, ...],
    others: tuple[str, ...],
) -> None:
    """Score the stored programs on other texts, other lengths and other models."""
    place, loaded = opened(model, library)
    programs = load_programs(place, loaded, CROSS_TOKENS)
    traveller = Traveller(loaded, place, sampled(programs.own, every), texts_seen(place))
    texts = [source_texts(source) for source in sources]
    found = [of_source(traveller, of_one, lengths, limit) for of_one in texts]
    beside = others or tuple(
        str(path) for path in sorted(LIBRARIES.glob("*.jsonl")) if path.stem != model
    )
    first = Texts(texts[0].name, texts[0].documents[: limit or None])
    results = {"sources": found, "other_models": of_other_models(traveller, first, beside)}
    write(
        "travel",
        claim=CLAIM,
        blocks=BLOCKS,
        results=results,
        loaded=loaded,
        # How many tokens were read depends on the length, and stands with the results.
        texts=[about_texts(of_one, []) | {"tokens": None} for of_one in texts],
        library=place,
        seed=0,
        rejected=programs.rejected,
        folder=output,
    )
    draw(found, model, output / f"{file_stem('travel', model)}.png")


if __name__ == "__main__":
    main()
