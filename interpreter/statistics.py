"""Means with their intervals."""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2_000


def bootstrap_ci95(
    per_document: Sequence[float] | np.ndarray, seed: int = 0
) -> tuple[float, float]:
    """95% percentile bootstrap interval of the mean over documents (2,000 resamples)."""
    values = np.asarray(per_document, dtype=float)
    draws = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
