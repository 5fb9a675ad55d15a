"""How many programs explain a model, and what mixing several programs of a head adds.

    python -m experiments.coverage --model smollm2-135m --texts stories

Programs are taken from the library one by one, each time the one that raises the mean over heads of
the best IoU most, on the select documents.  Of every number of programs the test documents are
reported: each head has the program that is its best of those on the select documents.  Then, for
each head, its k best programs of the whole library on training documents are mixed, with weights
fitted on those documents alone, and the test documents are reported again.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from experiments.pictures import new_figure, save
from experiments.scoring import ious_of_all
from experiments.subject import Subject, load_subject, subject_options
from experiments.tables import table, with_interval
from interpreter.progress import progress_bar
from interpreter.statistics import bootstrap_ci95
from synth.scorer import Scorer

CLAIM = (
    "A small part of the library reaches most of what all of it reaches, and a head is predicted "
    "better by several programs mixed than by its best one."
)
SHARES = (0.9, 0.95, 0.99)
"""Of the mean IoU that the whole library reaches."""
TRAIN_TEXTS = 24
STEPS = 30
"""Of fitting, for each further program; the weights start from those of one program less."""


def greedy(ious: Tensor) -> list[int]:
    """All programs in the order in which each adds most to the mean of the heads' best.

    `ious` is [program, head].
    """
    best = torch.zeros_like(ious[0])
    order: list[int] = []
    left = torch.ones(len(ious), dtype=torch.bool)
    while left.any():
        reached = torch.maximum(ious, best).mean(1).masked_fill(~left, -1.0)
        chosen = int(reached.argmax())
        order.append(chosen)
        left[chosen] = False
        best = torch.maximum(best, ious[chosen])
    return order


def curve(select: Tensor, test: Tensor, order: Sequence[int]) -> Tensor:
    """[count of programs, text]: mean over heads on the test texts, by what is taken so far.

    `select` is [program, head], `test` is [program, head, text].
    """
    heads = torch.arange(select.shape[1])
    best = torch.full_like(select[0], -1.0)
    owner = torch.zeros(select.shape[1], dtype=torch.long)
    found = []
    for program in order:
        better = select[program] > best
        best = torch.where(better, select[program], best)
        owner = torch.where(better, program, owner)
        found.append(test[owner, heads].mean(0))
    return torch.stack(found)


def coverage_results(subject: Subject) -> dict[str, Any]:
    pool = subject.programs.pool
    select = ious_of_all(subject.scorers["select"], pool, "Select documents").mean(-1)
    test = ious_of_all(subject.scorers["test"], pool, "Test documents")
    order = greedy(select)
    by_count = curve(select, test, order)
    means = by_count.mean(1)
    whole = float(means[-1])
    needed = {f"{share:.0%}": _first_over(means, share * whole) for share in SHARES}
    return {
        "programs": len(pool),
        "heads": len(subject.heads),
        "whole_library": {"mean_iou": whole, "ci95": bootstrap_ci95(by_count[-1].tolist())},
        "needed": needed,
        "curve": means.tolist(),
        "first_programs": [pool[k] for k in order[:10]],
    }


def _first_over(values: Tensor, bound: float) -> int:
    """How many programs it takes to reach the bound."""
    return 1 + int((values >= bound).nonzero()[0])


def fit_weights(features: Tensor, target: Tensor, start: Tensor) -> Tensor:
    """[k] weights that sum to 1 and raise the overlap of the mixture with the target.

    `features` is [k, pair], `target` is [pair].  The overlap is concave in the weights; each step
    multiplies them by the overlap that a little more of their program would add, which keeps them
    positive.
    """
    weights = start
    best, most = start, -1.0
    for step in range(STEPS):
        mixture = weights @ features
        overlap = float(torch.minimum(mixture, target).sum())
        if overlap > most:
            best, most = weights, overlap
        slopes = features @ (mixture < target).float()
        # Smaller and smaller, so that it settles.
        rate = 2.0 / (1 + step) ** 0.5
        scaled = rate * slopes / slopes.max().clamp_min(1e-9)
        weights = torch.softmax(weights.clamp_min(1e-9).log() + scaled, dim=0)
    return best


def iou_of_mixture(
    features: Tensor, target: Tensor, weights: Tensor, text: Tensor, rows: Tensor
) -> Tensor:
    """[text] IoU; `text` is [pair] int64, `rows` is [text], how many rows each has."""
    overlap = torch.zeros_like(rows).index_add_(0, text, torch.minimum(weights @ features, target))
    return overlap / (2 * rows - overlap)


class Packed:
    """The visible pairs of some texts, and every program on them."""

    def __init__(self, scorer: Scorer, programs: Sequence[str], what: str) -> None:
        self.visible = scorer.patterns.facts().visible
        self.attention = scorer.patterns.attention
        self.rows = self.visible.any(-1).sum(-1).float()
        self.text = self.visible.nonzero()[:, 0]
        self.features = torch.empty(len(programs), len(self.text))
        with progress_bar() as bar:
            for k, program in enumerate(bar.track(programs, description=what)):
                self.features[k] = scorer.matrices(program)[self.visible]

    def target(self, index: int) -> Tensor:
        """[pair] of the head at this index."""
        return self.attention[:, index][self.visible]


def mixing_results(subject: Subject, most: int) -> dict[str, Any]:
    """IoU of the k best programs of each head mixed, k from 1 to `most`."""
    pool = subject.programs.pool
    most = min(most, len(pool))
    few = Scorer(subject.patterns["train"].first(TRAIN_TEXTS))
    train_ious = ious_of_all(few, pool, "Training documents").mean(-1)
    train = Packed(few, pool, "Programs on training documents")
    test = Packed(subject.scorers["test"], pool, "Programs on test documents")
    found = torch.zeros(most, len(subject.heads), len(test.rows))
    with progress_bar() as bar:
        for index in bar.track(range(len(subject.heads)), description="Mixing"):
            best = train_ious[:, index].topk(most).indices
            on_train, on_test = train.features[best], test.features[best]
            train_target, test_target = train.target(index), test.target(index)
            weights = torch.zeros(0)
            for k in range(1, most + 1):
                # The new program starts with the share of one among equals.
                start = torch.cat([weights * (1 - 1 / k), torch.tensor([1 / k])])
                weights = fit_weights(on_train[:k], train_target, start)
                found[k - 1, index] = iou_of_mixture(
                    on_test[:k], test_target, weights, test.text, test.rows
                )
    by_document = found.mean(1)
    return {
        "train_documents": len(train.rows),
        "mean_iou": by_document.mean(1).tolist(),
        "mean_iou_ci95": [bootstrap_ci95(row.tolist()) for row in by_document],
    }


def draw(results: Mapping[str, Any], title: str, path: Path) -> None:
    figure, axes = new_figure(1, 2, width=9, height=3.4)
    axes[0][0].plot(range(1, len(results["curve"]) + 1), results["curve"])
    axes[0][0].set_xscale("log")
    axes[0][0].set_xlabel("programs, taken greedily")
    axes[0][0].set_ylabel("mean IoU, test documents")
    mixed = results["mixing"]["mean_iou"]
    axes[0][1].plot(range(1, len(mixed) + 1), mixed, marker=".")
    axes[0][1].set_xlabel("best programs of a head, mixed")
    for axis in axes[0]:
        axis.set_title(title, fontsize=9)
    save(figure, path)


def needed_block(records: Sequence[dict[str, Any]]) -> str:
    """How many programs reach a share of the whole library's mean IoU."""
    titles = ["", "programs", "mean IoU of all", *(f"for {s:.0%}" for s in SHARES)]
    rows = []
    for record in records:
        results = record["results"]
        whole = results["whole_library"]
        rows.append(
            [
                record["model"]["name"],
                str(results["programs"]),
                with_interval(whole["mean_iou"], whole["ci95"]),
                *(str(results["needed"][f"{share:.0%}"]) for share in SHARES),
            ]
        )
    return table(titles, rows)


def mixing_block(records: Sequence[dict[str, Any]]) -> str:
    """Mean IoU of the k best programs mixed, for some k."""
    most = min(len(record["results"]["mixing"]["mean_iou"]) for record in records)
    shown = [k for k in (1, 2, 3, 5, 10, 20) if k <= most]
    rows = []
    for record in records:
        mixing = record["results"]["mixing"]
        values = [
            with_interval(mixing["mean_iou"][k - 1], mixing["mean_iou_ci95"][k - 1]) for k in shown
        ]
        rows.append([record["model"]["name"], *values])
    return table(["programs mixed", *map(str, shown)], rows)


BLOCKS = {"needed": needed_block, "mixing": mixing_block}


@click.command()
@subject_options
@click.option("--most", default=20, show_default=True, help="Programs of a head to mix at most.")
def main(output: Path, most: int, **which: Any) -> None:
    """Count the programs that are needed, and mix the best of each head."""
    subject = load_subject(**which, parts=("train", "select", "test"))
    results = coverage_results(subject) | {"mixing": mixing_results(subject, most)}
    subject.write("coverage", CLAIM, BLOCKS, results, output)
    draw(results, subject.loaded.name, output / f"{subject.stem('coverage')}.png")


if __name__ == "__main__":
    main()
