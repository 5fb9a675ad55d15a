"""How well programs predict heads: the paper's figure 2, with the sink and without it.

    python -m experiments.fit --model smollm2-135m --texts stories

Of each head: the paper's baselines (a random token, a random column, the lower diagonal), the first
token, the best of the trivial programs, the program that was stored for the head, and the best
program of the whole library.  What is chosen here is chosen on the select documents by IoU with the
sink; everything is reported on the test documents.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from torch import Tensor

from experiments.pictures import new_figure, save
from experiments.scoring import best_for_heads, ious_of_chosen, summary
from experiments.subject import Subject, load_subject, subject_options
from experiments.tables import table, with_interval
from interpreter import scores
from synth.scoring import random_patterns
from synth.summary import TRIVIAL

CLAIM = (
    "The program that was stored for a head predicts its attention on unseen documents better "
    "than the best trivial program and than the paper's baselines, with the sink and without it."
)
TITLES = {
    "random_token": "random token",
    "random_column": "random column",
    "lower_diagonal": "lower diagonal",
    "first_token": "first token",
    "best_trivial": "best trivial",
    "own": "own program",
    "best_of_library": "best of the library",
}
SINKS = {"with_sink": "whole matrix", "without_sink": "without the first token"}


def patterns_of_each(subject: Subject) -> tuple[dict[str, tuple[Tensor, Tensor]], dict[str, Any]]:
    """Of each title IoU with and without the first token, [head, text], and what was chosen."""
    select, test = subject.scorers["select"], subject.scorers["test"]
    real = test.patterns.attention
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for name, matrix in random_patterns(test.patterns.facts().visible).items():
        drawn = matrix[:, None]
        found[name] = (scores.iou(real, drawn).T, scores.iou_no_sink(real, drawn).T)
    chosen = {
        "lower_diagonal": dict.fromkeys(subject.heads, "back(1)"),
        "first_token": dict.fromkeys(subject.heads, "first"),
        "best_trivial": best_for_heads(select, TRIVIAL),
        "own": subject.programs.own,
        "best_of_library": best_for_heads(select, subject.programs.pool),
    }
    for name, programs in chosen.items():
        found[name] = ious_of_chosen(test, programs)
    return found, chosen


def fit_results(subject: Subject) -> dict[str, Any]:
    found, chosen = patterns_of_each(subject)
    heads = [
        {
            "layer": head[0],
            "head": head[1],
            "iou": {name: float(full[k].mean()) for name, (full, _) in found.items()},
            "iou_no_sink": {name: float(rest[k].mean()) for name, (_, rest) in found.items()},
            "best_trivial": chosen["best_trivial"][head],
            "own": chosen["own"][head],
            "best_of_library": chosen["best_of_library"][head],
        }
        for k, head in enumerate(subject.heads)
    ]
    gain = found["own"][0] - found["best_trivial"][0]
    return {
        "with_sink": {name: summary(full) for name, (full, _) in found.items()},
        "without_sink": {name: summary(rest) for name, (_, rest) in found.items()},
        "gain_over_best_trivial": summary(gain),
        "programs": len(subject.programs.pool),
        "heads": heads,
    }


def draw(results: Mapping[str, Any], title: str, path: Path) -> None:
    """Box plots over the heads, whiskers to the 5th and 95th percentile."""
    figure, axes = new_figure(1, 2, width=11, height=4)
    for axis, (sink, name) in zip(
        axes[0], (("iou", "with"), ("iou_no_sink", "without")), strict=True
    ):
        boxes = [[head[sink][kind] for head in results["heads"]] for kind in TITLES]
        axis.boxplot(boxes, whis=(5, 95), showmeans=True, flierprops={"markersize": 2})
        axis.set_xticks(range(1, len(TITLES) + 1), TITLES.values(), rotation=35, ha="right")
        axis.set_ylim(0, 1)
        axis.set_title(f"{title}, {name} the first token", fontsize=9)
    axes[0][0].set_ylabel("IoU of a head, mean over test documents")
    save(figure, path)


def models_block(records: Sequence[dict[str, Any]]) -> str:
    """Means of every kind by model, with the sink and without it."""
    rows = [
        [
            f"{record['model']['name']}, {part}",
            *(
                with_interval(of_kind["mean"], of_kind["mean_ci95"])
                for of_kind in (record["results"][sink][kind] for kind in TITLES)
            ),
        ]
        for record in records
        for sink, part in SINKS.items()
    ]
    return table(["mean IoU (95% interval)", *TITLES.values()], rows)


def heads_block(records: Sequence[dict[str, Any]]) -> str:
    """Medians and shares of heads, of the stored and the best programs."""
    titles = ["", "heads", "programs", "median", "quartiles", "under 0.40", "over 0.75"]
    rows = []
    for record in records:
        results = record["results"]
        for sink, part in SINKS.items():
            for kind in ("best_trivial", "own", "best_of_library"):
                of_kind = results[sink][kind]
                low, high = of_kind["quartiles"]
                rows.append(
                    [
                        f"{record['model']['name']}, {TITLES[kind]}, {part}",
                        str(len(results["heads"])),
                        str(results["programs"]),
                        with_interval(of_kind["median"], of_kind["median_ci95"]),
                        f"{low:.3f}–{high:.3f}",
                        f"{of_kind['share_under_low']:.0%}",
                        f"{of_kind['share_over_high']:.0%}",
                    ]
                )
    return table(titles, rows)


BLOCKS = {"models": models_block, "heads": heads_block}


@click.command()
@subject_options
def main(output: Path, **which: Any) -> None:
    """Score every kind of program and baseline on every head."""
    subject = load_subject(**which)
    results = fit_results(subject)
    subject.write("fit", CLAIM, BLOCKS, results, output)
    draw(results, subject.loaded.name, output / f"{subject.stem('fit')}.png")


if __name__ == "__main__":
    main()
