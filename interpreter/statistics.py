"""Means with their intervals."""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2_000


def bootstrap_ci95(per_document: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """95% percentile bootstrap interval of the mean over documents (2,000 resamples)."""
    return bootstrap_ratio_ci95(per_document, np.ones(len(per_document)))


def bootstrap_ratio_ci95(
    totals: Sequence[float] | np.ndarray, sizes: Sequence[float] | np.ndarray
) -> tuple[float, float]:
    """95% percentile bootstrap interval over documents of sum(totals) / sum(sizes).

    A document brings its total and its size along: of a difference between two models, say, and
    its tokens.
    """
    parts = np.stack([np.asarray(totals, dtype=float), np.asarray(sizes, dtype=float)])
    draws = np.random.default_rng(0).integers(parts.shape[1], size=(RESAMPLES, parts.shape[1]))
    sums = parts[:, draws].sum(axis=-1)
    low, high = np.percentile(sums[0] / sums[1], [2.5, 97.5])
    return float(low), float(high)
