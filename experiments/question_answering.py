"""Accuracy at answering questions, with growing shares of a model's heads replaced by programs.

    python -m experiments.question_answering --items arc-easy.jsonl
    python -m experiments.question_answering --tasks hellaswag --tasks sciq

The questions come from files, or from the hub by the names of tasks of lm-evaluation-harness, which
defines the prompts and both kinds of accuracy.  The order of the heads comes from other texts.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from experiments.results import write
from experiments.stand_ins import count_of, order_options, stand_ins
from experiments.subject import model_options, opened
from experiments.tables import Block, table, with_interval
from grammar.errors import InputError
from interpreter.statistics import bootstrap_ci95
from interpreter.texts import load_texts
from synth.replace_command import parse_fractions

if TYPE_CHECKING:
    from experiments.harness import Answered

CLAIM = (
    "With heads replaced by their programs the model still answers questions: accuracy at growing "
    "shares, beside the model as it is and a guess."
)


@click.command()
@model_options
@click.option("--items", multiple=True, type=click.Path(path_type=Path), help="Questions, JSONL.")
@click.option("--tasks", multiple=True, help="Task of lm-evaluation-harness; needs the hub.")
@click.option("--fractions", default="0,0.1,0.25,0.5,1", show_default=True)
@order_options
def question_answering(
    model: str,
    library: str | None,
    every: int,
    limit: int | None,
    output: Path,
    items: tuple[Path, ...],
    tasks: tuple[str, ...],
    fractions: str,
    order: str,
    order_texts: str,
    order_tokens: int,
    choice: str | None,
) -> None:
    """Ask models with growing shares of their heads replaced, and count right answers.

    Every difference is to the model as it is, question by question, with a 95% interval by
    bootstrap over questions.  --limit is one on the questions of each file or task.
    """
    shares = (0.0, *parse_fractions(",".join(p for p in fractions.split(",") if p.strip() != "0")))
    if not items and not tasks:
        raise InputError("no questions: give --items FILE or --tasks NAME")
    from experiments.continuations import ReplacedModels
    from experiments.harness import answered, hub_tasks, local_task

    local = [local_task(path) for path in items]
    asked = [task for task, _ in local] + (hub_tasks(tasks) if tasks else [])
    place, loaded = opened(model, library)
    programs = stand_ins(place, loaded, choice, order_tokens, every)
    ordering = load_texts(order_texts).split()["select"]
    heads = programs.ordered(order, ordering, order_tokens)
    counts = [count_of(share, len(heads)) for share in shares]
    models = ReplacedModels(loaded, programs.trees, heads, counts)
    results = {
        "order": order,
        "order_texts": {"name": ordering.name, "sha256": ordering.sha256},
        "tasks": [about(a, shares, counts) for a in answered(asked, models, len(counts), limit)],
    }
    texts = [{"name": t.name, "sha256": t.sha256, "questions": len(t.documents)} for _, t in local]
    write(
        "question_answering",
        claim=CLAIM,
        blocks=BLOCKS,
        loaded=loaded,
        texts=texts,
        library=place,
        seed=0,
        results=results,
        folder=output,
    )


def about(task: "Answered", shares: Sequence[float], counts: Sequence[int]) -> dict[str, Any]:
    """Accuracies of one task by share, and how they differ from those of the first model."""
    curve: list[dict[str, Any]] = [
        {"fraction": share, "heads": count} for share, count in zip(shares, counts, strict=True)
    ]
    for metric, by_model in task.right.items():
        whole = np.array(by_model[0])
        for point, right in zip(curve, by_model, strict=True):
            rise = np.array(right) - whole
            point[metric] = {
                "mean": float(np.mean(right)),
                "ci95": bootstrap_ci95(right),
                "difference": float(rise.mean()),
                "difference_ci95": bootstrap_ci95(rise),
            }
    (questions,) = {len(right) for by_model in task.right.values() for right in by_model}
    return {"task": task.task, "questions": questions, "chance": task.chance, "curve": curve}


def accuracies(records: Sequence[Mapping[str, Any]]) -> str:
    """A table of accuracies and of their differences to the model as it is, for each model."""
    titles = ["task", "replaced", "acc", "difference", "acc_norm", "difference", "chance"]
    found = []
    for record in records:
        rows = []
        for task in record["results"]["tasks"]:
            name = f"{task['task']} ({task['questions']})"
            for point in task["curve"]:
                cells = [*_cells(point, "acc"), *_cells(point, "acc_norm")]
                rows.append([name, f"{point['fraction']:.0%}", *cells, f"{task['chance']:.3f}"])
        found.append(f"{record['model']['name']}:\n\n{table(titles, rows)}")
    return "\n\n".join(found)


def _cells(point: Mapping[str, Any], metric: str) -> tuple[str, str]:
    if metric not in point:
        return "", ""
    found = point[metric]
    low, high = found["difference_ci95"]
    difference = f"{found['difference']:+.3f} ({low:+.3f} to {high:+.3f})"
    return with_interval(found["mean"], found["ci95"]), difference if point["heads"] else ""


BLOCKS: dict[str, Block] = {"accuracies": accuracies}


if __name__ == "__main__":
    question_answering()
