"""IoUs of programs with heads, and what of them is reported: means, medians, shares, intervals.

IoUs are [head, text] float32, or [program, head, text] for many programs.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interpreter import scores
from interpreter.capture import Head
from interpreter.progress import progress_bar
from interpreter.statistics import RESAMPLES, bootstrap_ci95
from synth.scorer import Scorer

LOW, HIGH = 0.40, 0.75
"""Shares of heads are reported under the one and over the other, as in the paper."""


def ious_of_all(scorer: Scorer, programs: Sequence[str], what: str) -> Tensor:
    """[program, head, text]: every program with every head."""
    with progress_bar() as bar:
        found = bar.track(scorer.ious(programs), total=len(programs), description=what)
        return torch.stack([ious.T for ious in found])


def ious_of_chosen(scorer: Scorer, chosen: Mapping[Head, str]) -> tuple[Tensor, Tensor]:
    """IoU with and without the first token of each head's program, both [head, text]."""
    full, rest = [], []
    with progress_bar() as bar:
        for head in bar.track(scorer.patterns.heads, description="Scoring the chosen programs"):
            real, predicted = scorer.patterns.head(head), scorer.matrices(chosen[head])
            full.append(scores.iou(real, predicted))
            rest.append(scores.iou_no_sink(real, predicted))
    return torch.stack(full), torch.stack(rest)


def best_for_heads(scorer: Scorer, programs: Sequence[str]) -> dict[Head, str]:
    """The program with the best mean IoU for each head, on the texts of the scorer."""
    best = ious_of_all(scorer, programs, "Choosing").mean(-1).argmax(0).tolist()
    return {head: programs[k] for head, k in zip(scorer.patterns.heads, best, strict=True)}


def mean_over_heads(ious: Tensor) -> dict[str, Any]:
    """The mean of [head, text], with its interval over documents."""
    return {"mean_iou": float(ious.mean()), "ci95": bootstrap_ci95(ious.mean(0).tolist())}


def interval(ious: Tensor, statistic: Callable[[np.ndarray], np.ndarray]) -> list[float]:
    """95% percentile bootstrap interval over documents of a statistic of the heads' means.

    `statistic` takes [head, resample] and gives [resample].
    """
    count = ious.shape[1]
    draws = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
    weights = np.stack([np.bincount(draw, minlength=count) for draw in draws]) / count
    values = statistic(ious.double().numpy() @ weights.T)
    return [float(bound) for bound in np.percentile(values, [2.5, 97.5])]


def summary(ious: Tensor) -> dict[str, Any]:
    """What is reported of [head, text]; each number with its interval over documents."""
    statistics: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "mean": lambda values: values.mean(0),
        "median": lambda values: np.median(values, axis=0),
        "share_under_low": lambda values: (values < LOW).mean(0),
        "share_over_high": lambda values: (values > HIGH).mean(0),
    }
    by_head = ious.double().mean(1).numpy()
    found: dict[str, Any] = {}
    for name, statistic in statistics.items():
        found[name] = float(statistic(by_head[:, None])[0])
        found[f"{name}_ci95"] = interval(ious, statistic)
    found["quartiles"] = [float(q) for q in np.percentile(by_head, [25, 75])]
    return found
