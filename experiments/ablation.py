"""What each primitive is worth: what all of them together lose without it.

    python -m experiments.ablation --model smollm2-135m --texts stories --texts code

All primitives are fitted freely to a sample of the heads, as by `experiments.ceiling`.  From there
the fit goes on without one primitive at a time, so that the others can stand in for it, and once
with all, for comparison; and once without all parts of speech that are worth nothing alone, which
may stand in for one another.  The loss is that of the mean IoU on the test documents, with a 95%
interval over those.  More than one kind of text says what each needs: there are no brackets in
stories.  Beside it stands how many of the stored programs use the primitive.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from experiments.ceiling import (
    PENALTIES,
    Packed,
    Weights,
    captured_in_parts,
    features,
    fit,
    pack,
    predicted_iou,
)
from experiments.results import about_texts, write
from experiments.sources import source_texts
from experiments.subject import Programs, load_programs, model_options, opened, sampled
from experiments.tables import table, with_interval
from grammar.parser import parse_or_raise
from grammar.primitives import PRIMITIVES
from grammar.tree import Node
from interpreter.progress import progress_bar
from interpreter.statistics import bootstrap_ci95
from interpreter.texts import Texts
from synth.structure import uses

CLAIM = "Heads are predicted less well where a primitive is missing from the language."
# `any` stands in `first` and `distance(any)`: without it there is no language.
NAMES = (*(name for name in PRIMITIVES if name != "any"), "query", "after", "before")
WORTHLESS_ALONE = ("interjection", "number", "particle", "pronoun")
"""Parts of speech that were worth nothing alone on any texts; are they together?"""
TOGETHER = "together"
MORE_EPOCHS = 4
"""Passes over the train documents without a primitive, after those with all."""


def worth(
    train: Sequence[Packed], test: Sequence[Packed], terms: Sequence[Node], epochs: int
) -> dict[str, Any]:
    """The mean IoU on the test documents with all primitives, and what is lost without each."""
    heads = slice(0, len(train[0].target))
    lacking = {name: torch.tensor([not uses(node, name) for node in terms]) for name in NAMES}
    lacking = {name: kept for name, kept in lacking.items() if not kept.all()}
    with progress_bar() as bar:
        task = bar.add_task("With all primitives", total=3 + len(lacking))
        begun = fit(train, heads, PENALTIES[0], epochs)
        bar.advance(task)

        def continued(kept: Tensor) -> Tensor:
            found = fit(train, heads, PENALTIES[0], MORE_EPOCHS, begun, kept)
            bar.advance(task)
            return _ious(found, test)

        whole = continued(torch.ones(len(terms), dtype=torch.bool))

        def loss(kept: Tensor) -> dict[str, Any]:
            lost = (whole - continued(kept)).mean(0)
            return {"loss": float(lost.mean()), "loss_ci95": bootstrap_ci95(lost.tolist())}

        rows = []
        for name, kept in lacking.items():
            bar.update(task, description=f"Without {name}")
            rows.append({"primitive": name, **loss(kept)})
        worthless = [name for name in WORTHLESS_ALONE if name in lacking]
        bar.update(task, description="Without all that are worth nothing alone")
        together = loss(torch.stack([lacking[name] for name in worthless]).all(0))
    return {
        "heads": len(whole),
        "features": len(terms),
        "mean_iou": float(whole.mean()),
        "mean_iou_ci95": bootstrap_ci95(whole.mean(0).tolist()),
        "primitives": rows,
        "together": {"primitives": worthless, **together},
    }


@torch.no_grad()
def _ious(weights: Weights, packs: Sequence[Packed]) -> Tensor:
    """[head, text]."""
    return torch.cat([predicted_iou(weights, p, p.target) for p in packs], 1)


def users(programs: Programs) -> dict[str, int]:
    """How many heads' programs use each primitive."""
    trees = [parse_or_raise(text) for text in programs.own.values()]
    return {name: sum(uses(tree, name) for tree in trees) for name in NAMES}


def primitives_block(records: Sequence[dict[str, Any]]) -> str:
    """How many programs use each primitive, and what is lost without it on each kind of text."""
    titles, columns = [""], []
    for record in records:
        model, results = record["model"]["name"], record["results"]
        titles.append(f"{model}: in how many of {results['programs']} programs")
        columns.append({name: str(count) for name, count in results["users"].items()})
        for source in results["sources"]:
            titles.append(f"{model}: lost on {source['texts']} ({source['heads']} heads)")
            losses = [*source["primitives"], source["together"] | {"primitive": TOGETHER}]
            columns.append(
                {
                    row["primitive"]: with_interval(row["loss"], row["loss_ci95"], digits=4)
                    for row in losses
                }
            )
    most: dict[str, float] = {}
    for record in records:
        for source in record["results"]["sources"]:
            for row in source["primitives"]:
                most[row["primitive"]] = max(most.get(row["primitive"], -1.0), row["loss"])
    names = sorted(NAMES, key=lambda name: (-most.get(name, -1.0), name))
    rows = [[f"`{n}`", *(c.get(n, "–") for c in columns)] for n in names]
    together = [c.get(TOGETHER, "–") for c in columns]
    joined = ", ".join(f"`{name}`" for name in WORTHLESS_ALONE)
    return table(titles, [*rows, [f"{joined} together", *together]])


BLOCKS = {"primitives": primitives_block}


@click.command()
@model_options
@click.option("--texts", multiple=True, default=["stories"], help="May be repeated; `code` too.")
@click.option("--max-tokens", default=96, show_default=True)
@click.option("--epochs", default=40, show_default=True, help="Passes over the train documents.")
def main(
    model: str,
    library: str | None,
    every: int,
    limit: int | None,
    output: Path,
    texts: Sequence[str],
    max_tokens: int,
    epochs: int,
) -> None:
    """Fit all primitives freely, then without each in turn, and report what is lost."""
    place, loaded = opened(model, library)
    programs = load_programs(place, loaded, max_tokens)
    heads = sampled(programs.own, every)

    found, about = [], []
    for source in map(source_texts, texts):
        split = Texts(source.name, source.documents[:limit]).split()
        train, test = (
            captured_in_parts(loaded, split[part], heads, max_tokens) for part in ("train", "test")
        )
        tokens = {
            "train": [t for p in train for t in p.tokens],
            "test": [t for p in test for t in p.tokens],
        }
        terms = features(tokens["train"], causal=loaded.causal)
        learnt, held_out = ([pack(p, terms) for p in some] for some in (train, test))
        found.append({"texts": source.name, **worth(learnt, held_out, terms, epochs)})
        about += [about_texts(split[part], tokens[part]) for part in tokens]
    write(
        "ablation",
        claim=CLAIM,
        blocks=BLOCKS,
        results={"sources": found, "users": users(programs), "programs": len(programs.own)},
        loaded=loaded,
        texts=about,
        library=place,
        seed=0,
        rejected=programs.rejected,
        folder=output,
    )


if __name__ == "__main__":
    main()
