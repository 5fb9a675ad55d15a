"""What the programs of a library get wrong: the largest mistakes of each head, and their causes.

    python -m experiments.residual --model smollm2-135m --texts stories

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

from experiments.subject import load_subject, subject_options
from experiments.tables import table
from grammar.parser import parse_or_raise
from grammar.token_facts import Token
from interpreter.capture import Captured, Head
from interpreter.evaluate import Evaluator
from interpreter.progress import progress_bar
from interpreter.scores import iou
from synth import vocabulary
from synth.heads import head_name
from synth.summary import shown

CLAIM = "What the programs get wrong has many small causes, and no large one that lacks a word."
CAUSES = 12
"""So many are shown."""


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
                found[shown(document[query]), shown(document[key])] += value
    return [[query, key, round(weight, 2)] for (query, key), weight in found.most_common(most)]


def causes(mistakes: Tensor, predicates: Mapping[str, Tensor]) -> dict[str, float]:
    """Of each predicate: weight missed less weight too much, as a share of all mistakes.

    `mistakes` is [text, query, key], real less predicted; predicates are [text, query, key].
    """
    total = float(mistakes.abs().sum())
    if total == 0:  # a program without mistakes
        return dict.fromkeys(predicates, 0.0)
    flat = mistakes.flatten()
    return {name: float(flat @ keys.flatten()) / total for name, keys in predicates.items()}


def mistakes(patterns: Captured, programs: Mapping[Head, str], pairs: int) -> list[dict[str, Any]]:
    """Of each head: its program, its IoU, the largest mistakes as token pairs, and their causes."""
    evaluator = Evaluator(patterns.facts())
    named = [*vocabulary.classes([]), *vocabulary.relations()]
    predicates = {n: evaluator.weights(vocabulary.term(n)) for n in named if n != "any"}
    found = []
    with progress_bar() as bar:
        for layer, head in bar.track(patterns.heads, description="Mistakes"):
            real = patterns.head((layer, head))
            predicted = evaluator.matrices(parse_or_raise(programs[layer, head]))
            wrong = real - predicted
            found.append(
                {
                    "layer": layer,
                    "head": head,
                    "program": programs[layer, head],
                    "iou": float(iou(real, predicted).mean()),
                    "missed": largest_pairs(wrong.clamp_min(0), patterns.tokens, pairs),
                    "too_much": largest_pairs((-wrong).clamp_min(0), patterns.tokens, pairs),
                    "causes": causes(wrong, predicates),
                }
            )
    return found


def average(found: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The mean size of each cause over the heads, as a share of their mistakes."""
    return {
        name: float(torch.tensor([head["causes"][name] for head in found]).abs().mean())
        for name in found[0]["causes"]
    }


def causes_block(records: Sequence[Mapping[str, Any]]) -> str:
    """The largest causes of mistakes of each model's programs."""
    rows = []
    for record in records:
        ranked = sorted(record["results"]["mean_absolute_causes"].items(), key=lambda c: -c[1])
        shown = ", ".join(f"`{name}` {share:.1%}" for name, share in ranked[:CAUSES])
        rows.append([record["model"]["name"], shown])
    return table(["", "mean size of a cause, of all mistakes"], rows, left=2)


BLOCKS = {"causes": causes_block}


@click.command()
@subject_options
@click.option("--pairs", default=4, show_default=True, help="Token pairs to show for each head.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Every head's mistakes.")
def main(pairs: int, json_path: Path | None, output: Path, **which: Any) -> None:
    """Print what the programs of a library get wrong."""
    subject = load_subject(**which, parts=["train"])
    found = mistakes(subject.patterns["train"], subject.programs.own, pairs)
    shares = average(found)
    _print(found)
    if json_path:
        text = json.dumps({"model": which["model"], "heads": found}, indent=1, ensure_ascii=False)
        json_path.write_text(text + "\n", encoding="utf-8")
    results = {"heads": len(found), "mean_absolute_causes": shares}
    subject.write("residual", CLAIM, BLOCKS, results, output)


def _print(found: Sequence[Mapping[str, Any]]) -> None:
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
    Console().print(table)


if __name__ == "__main__":
    main()
