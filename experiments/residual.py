"""What the programs of a library get wrong: the largest mistakes of each head, and their causes.

    python -m experiments.residual --library heads.sqlite --model smollm2-135m --texts stories

A mistake is weight that the head gives and the program does not, or the other way round.  For each
head the pairs of tokens with the largest mistakes are printed.  Over all heads the weight that is
missed, less the weight that is too much, is summed over the keys of each class and relation: where
that is far from zero, the programs lack a word for it.  Everything is measured on the train part of
the texts, so that what is added to the language for it can be judged on the others.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from grammar.parser import parse_or_raise
from grammar.primitives import Kind, primitives
from grammar.token_facts import Token
from interpreter.capture import capture
from interpreter.evaluate import Evaluator
from interpreter.models import load_model
from interpreter.progress import progress_bar
from interpreter.scores import iou
from interpreter.texts import load_texts
from synth import vocabulary
from synth.chosen import of_revision, stored_choices
from synth.heads import head_name, parse_heads
from synth.library import Library


def largest_pairs(mistakes: Tensor, tokens: Sequence[Sequence[Token]], most: int) -> list[Any]:
    """[query, key, weight] of the token pairs with most weight, summed over the texts.

    `mistakes` is [text, query, key], not negative.
    """
    found: Counter[tuple[str, str]] = Counter()
    for matrix, document in zip(mistakes, tokens, strict=True):
        # A head spreads itself over thousands of pairs; the strongest of each text are enough.
        n = matrix.shape[-1]
        values, places = matrix.flatten().topk(min(500, matrix.numel()))
        for value, place in zip(values.tolist(), places.tolist(), strict=True):
            query, key = divmod(place, n)
            if value > 0:
                found[_shown(document[query]), _shown(document[key])] += value
    return [[query, key, round(weight, 2)] for (query, key), weight in found.most_common(most)]


def _shown(token: Token) -> str:
    return token.text.replace("\n", "\\n") or "<special>"


def causes(mistakes: Tensor, predicates: Mapping[str, Tensor]) -> dict[str, float]:
    """Of each predicate: weight missed less weight too much, as a share of all mistakes.

    `mistakes` is [text, query, key], real less predicted; predicates are [text, query, key].
    """
    total = float(mistakes.abs().sum())
    flat = mistakes.flatten()
    return {name: float(flat @ keys.flatten()) / total for name, keys in predicates.items()}


@click.command()
@click.option("--library", "place", required=True)
@click.option("--model", default="smollm2-135m", show_default=True)
@click.option("--texts", default="stories", show_default=True)
@click.option("--choice", default="iou", show_default=True)
@click.option("--heads", "selected", default="all", show_default=True, help="all, or L3H5,L4H0-8.")
@click.option("--limit", default=100, show_default=True, help="At most so many documents.")
@click.option("--max-tokens", default=96, show_default=True)
@click.option("--pairs", default=4, show_default=True, help="Token pairs to show for each head.")
@click.option("--json", "output", type=click.Path(path_type=Path), help="Where the results go.")
def residual(
    place: str,
    model: str,
    texts: str,
    choice: str,
    selected: str,
    limit: int,
    max_tokens: int,
    pairs: int,
    output: Path | None,
) -> None:
    """Print what the programs of a library get wrong."""
    loaded = load_model(model)
    wanted = set(parse_heads(selected, loaded.layers, loaded.heads))
    with Library.open(place) as library:
        stored = of_revision(place, stored_choices(library, model, choice), loaded)
    chosen = [c for c in stored if (c.layer, c.head) in wanted]
    heads = [(c.layer, c.head) for c in chosen]
    patterns = capture(loaded, load_texts(texts, limit).split()["train"], heads, max_tokens)
    evaluator = Evaluator(patterns.facts())
    named = [p.name for kind in (Kind.TOKEN_CLASS, Kind.RELATION) for p in primitives(kind)]
    named = [n for n in named if n in vocabulary.classes([]) + vocabulary.relations()]
    predicates = {n: evaluator.weights(vocabulary.term(n)) for n in named if n != "any"}
    found: list[dict[str, Any]] = []
    with progress_bar() as bar:
        for index, c in enumerate(bar.track(chosen, description="Mistakes")):
            real = patterns.attention[:, index]
            predicted = evaluator.matrices(parse_or_raise(c.text))
            wrong = real - predicted
            found.append(
                {
                    "layer": c.layer,
                    "head": c.head,
                    "program": c.text,
                    "iou": round(float(iou(real, predicted).mean()), 4),
                    "missed": largest_pairs(wrong.clamp_min(0), patterns.tokens, pairs),
                    "too_much": largest_pairs((-wrong).clamp_min(0), patterns.tokens, pairs),
                    "causes": causes(wrong, predicates),
                }
            )
    average = {
        name: round(float(torch.tensor([h["causes"][name] for h in found]).abs().mean()), 4)
        for name in predicates
    }
    _print(found, average)
    if output:
        result = {"model": model, "texts": texts, "heads": found, "mean_absolute_causes": average}
        output.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _print(found: Sequence[Mapping[str, Any]], average: Mapping[str, float]) -> None:
    table = Table("head", "IoU", "missed: query > key", "too much: query > key", "lacks, overdoes")
    for head in sorted(found, key=lambda h: float(h["iou"])):
        strongest = sorted(head["causes"].items(), key=lambda item: -abs(item[1]))[:3]
        table.add_row(
            head_name(head["layer"], head["head"]),
            f"{head['iou']:.2f}",
            ", ".join(f"{q} > {k}" for q, k, _ in head["missed"]),
            ", ".join(f"{q} > {k}" for q, k, _ in head["too_much"]),
            ", ".join(f"{name} {share:+.0%}" for name, share in strongest),
        )
    console = Console()
    console.print(table)
    ranked = sorted(average.items(), key=lambda item: -item[1])[:12]
    console.print("Over all heads, the mean size of each cause, as a share of the mistakes:")
    console.print(", ".join(f"{name} {share:.1%}" for name, share in ranked))


if __name__ == "__main__":
    residual()
