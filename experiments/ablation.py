"""What each primitive is worth: held-out IoU of programs that are found without it.

    python -m experiments.ablation --texts stories --every 9 --json ablation.json

Programs are grown and reshaped for a sample of the heads from the whole vocabulary.  Then, for
each primitive, those that use it are found again from a vocabulary that lacks it.  The loss is that
of the mean IoU over the whole sample on the test documents, with a 95% interval over those.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from grammar.parser import parse_or_raise
from grammar.primitives import PRIMITIVES
from grammar.printer import to_text
from grammar.tree import Node
from interpreter.capture import capture
from interpreter.evaluate import Evaluator
from interpreter.models import load_model
from interpreter.progress import progress_bar
from interpreter.scores import iou
from interpreter.statistics import bootstrap_ci95
from interpreter.texts import load_texts
from synth.fitting import Fitter
from synth.growing import STEPS, Grower
from synth.heads import head_name
from synth.refining import GROWING_TEXTS, START, vocabulary_grower, vocabulary_reshaper
from synth.reshaping import Reshaper
from synth.structure import uses

# `any` stands in `first` and `distance(any)`: without it there is no language.
NAMES = (*(name for name in PRIMITIVES if name != "any"), "query")


Find = Callable[[int], tuple[Node, Tensor]]
"""From the index of a head to its program, and the program's IoU on the test documents, [text]."""


@click.command()
@click.option("--model", default="smollm2-135m", show_default=True)
@click.option("--texts", default="stories", show_default=True)
@click.option("--every", default=9, show_default=True, help="Sample every so many heads.")
@click.option("--limit", default=100, show_default=True, help="At most so many documents.")
@click.option("--max-tokens", default=96, show_default=True)
@click.option("--json", "output", type=click.Path(path_type=Path), help="Where the results go.")
def ablation(
    model: str, texts: str, every: int, limit: int, max_tokens: int, output: Path | None
) -> None:
    """Grow programs without each primitive in turn, and report what is lost."""
    started = time.monotonic()
    loaded = load_model(model)
    heads = [(n, h) for n in range(loaded.layers) for h in range(loaded.heads)][every // 2 :: every]
    source = load_texts(texts, limit)
    split = source.split()
    train, test = (capture(loaded, split[name], heads, max_tokens) for name in ("train", "test"))
    growing = train.first(GROWING_TEXTS)
    quick, fitter = Fitter(Evaluator(growing.facts())), Fitter(Evaluator(train.facts()))
    judge = Evaluator(test.facts())
    grower = vocabulary_grower(quick, growing.tokens, [])
    reshaper = vocabulary_reshaper(quick, growing.tokens)

    def finder(grower: Grower, reshaper: Reshaper) -> Find:
        def find(index: int) -> tuple[Node, Tensor]:
            target = growing.attention[:, index]
            start = quick.fit_constants(parse_or_raise(START), target, STEPS)
            grown = [start, *grower.grow(start, target)][-1]
            last = [grown, *reshaper.reshape(grown, target)][-1]
            program = fitter.fit(last, train.attention[:, index])
            return program, iou(test.attention[:, index], judge.matrices(program))

        return find

    with progress_bar() as bar:
        indices = bar.track(range(len(heads)), description="With every primitive")
        whole = list(map(finder(grower, reshaper), indices))
        users = {
            name: [k for k, (program, _) in enumerate(whole) if uses(program, name)]
            for name in NAMES
        }
        task = bar.add_task("Without each", total=sum(map(len, users.values())))
        rows = [
            _row(name, users[name], whole, without, lambda: bar.advance(task))
            for name in NAMES
            if users[name]
            for without in [finder(grower.without(name), reshaper.without(name))]
        ]
    rows.sort(key=lambda row: -float(row["loss"]))
    ious = torch.stack([values for _, values in whole])
    result: dict[str, Any] = {
        "model": model,
        "revision": loaded.revision,
        "texts": {"name": texts, "sha256": source.sha256, "documents": len(source.documents)},
        "max_tokens": max_tokens,
        "heads": len(heads),
        "mean_iou": round(float(ious.mean()), 4),
        "mean_iou_ci95": [round(x, 4) for x in bootstrap_ci95(ious.mean(0).tolist())],
        "seconds": round(time.monotonic() - started, 1),
        "primitives": rows,
        "never_used": [name for name in NAMES if not users[name]],
        "programs": {
            head_name(*head): to_text(program)
            for head, (program, _) in zip(heads, whole, strict=True)
        },
    }
    _print(result)
    if output:
        output.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _row(
    name: str,
    users: list[int],
    whole: list[tuple[Node, Tensor]],
    without: Find,
    advance: Callable[[], None],
) -> dict[str, Any]:
    lost = torch.zeros_like(whole[0][1])
    for index in users:
        lost += whole[index][1] - without(index)[1]
        advance()
    per_document = lost / len(whole)
    return {
        "primitive": name,
        "heads_using": len(users),
        "loss": round(float(per_document.mean()), 5),
        "loss_ci95": [round(x, 5) for x in bootstrap_ci95(per_document.tolist())],
        "loss_of_users": round(float(lost.mean()) / len(users), 4),
    }


def _print(result: dict[str, Any]) -> None:
    table = Table("primitive", "heads", "loss of mean IoU", "95% interval", "loss of its heads")
    for row in result["primitives"]:
        low, high = row["loss_ci95"]
        table.add_row(
            row["primitive"],
            str(row["heads_using"]),
            f"{row['loss']:.4f}",
            f"{low:.4f} to {high:.4f}",
            f"{row['loss_of_users']:.3f}",
        )
    console = Console()
    console.print(table)
    console.print(f"mean IoU with all: {result['mean_iou']} ({result['heads']} heads)")
    console.print(f"never used: {', '.join(result['never_used'])}")


if __name__ == "__main__":
    ablation()
