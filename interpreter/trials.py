"""How well a program would overlap a target, were another selection in one of its places.

What a change moves is the weight that one selection gives, so the rest of the program is computed
once, and each selection is held against the target without a matrix of its own.
"""

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from grammar.tree import Node
from interpreter.evaluate import Evaluator
from interpreter.mixing import KINDS, PICKS, ROWS, Array
from interpreter.overlap_cores import REORDERED


@dataclass(frozen=True)
class Place:
    """Where a selection stands: in a mixture, or in a score of it."""

    rest: Tensor
    """[text, query, key] float32: what all other parts of the program give."""
    factor: Tensor
    """[text, query, 1] float32: the share of the part, 0 on rows that its rule does not decide."""
    powers: Tensor | None = None
    """Of a score, [text, query, key] float32: e to the sum of its other logits, 0 where nothing is
    visible, in each row times any number; None where the part is the selection itself."""
    strength: float = 0.0
    """Of a score: the logit that the selection's weights are multiplied by."""


class Trials:
    """Overlaps with one target, with each of many selections in one place."""

    def __init__(self, evaluator: Evaluator, place: Place, target: Tensor) -> None:
        """`target` is [text, query, key] float32, rows sum to 1 or, on padding, to 0."""
        self._evaluator = evaluator
        self._place = place
        self._target = target
        if evaluator.mixer is not None:
            self._base = torch.minimum(place.rest, target).sum(-1).numpy()
            self._given = (place.rest.numpy(), place.factor[:, :, 0].numpy(), target.numpy())

    def overlap(self, selection: Node) -> float:
        """The sum of minima with the target, over all texts."""
        mixer, place = self._evaluator.mixer, self._place
        if mixer is None:
            added = place.factor * self._shares(selection)
            return float(torch.minimum(place.rest + added, self._target).sum())
        at = mixer.index(selection, self._evaluator.spread)
        if place.powers is None:
            return float(_overlap_of_share(at, *mixer.arrays, *self._given, self._base))
        powers, strength = place.powers.numpy(), place.strength
        return float(
            _overlap_of_score(at, *mixer.arrays, *self._given, self._base, powers, strength)
        )

    def _shares(self, selection: Node) -> Tensor:
        if self._place.powers is None:
            return self._evaluator.fresh_shares(selection)
        weights = self._evaluator.weights(selection)
        powers = self._place.powers * (self._place.strength * weights).exp()
        return powers / powers.sum(-1, keepdim=True).clamp_min(1e-30)


@numba.njit(fastmath=REORDERED, parallel=True, cache=True)
def _overlap_of_share(
    at: int,
    rows: Array,
    row_scales: Array,
    picks: Array,
    pairs: Array,
    pair_scales: Array,
    ends: Array,
    rest: Array,
    factor: Array,
    target: Array,
    base: Array,
) -> Any:
    slot, kind = at // KINDS, at % KINDS
    texts, queries = ends.shape
    totals = np.zeros(texts)
    for text in numba.prange(texts):
        for query in range(queries):
            end, share = ends[text, query], factor[text, query]
            if end == 0 or share == 0:
                totals[text] += base[text, query]
                continue
            left, real = rest[text, query], target[text, query]
            scale = np.float32(0)
            if kind != PICKS:
                scale = (row_scales if kind == ROWS else pair_scales)[slot, text, query]
            if scale == 0:
                pick = max(picks[slot, text, query], 0) if kind == PICKS else 0
                old, wanted = left[pick], real[pick]
                totals[text] += base[text, query] - min(old, wanted) + min(old + share, wanted)
                continue
            given = rows[slot, text] if kind == ROWS else pairs[slot, text, query]
            weight = share * scale
            total = np.float32(0)
            for j in range(end):
                total += min(left[j] + weight * given[j], real[j])
            totals[text] += total
    return totals.sum()


@numba.njit(fastmath=REORDERED, parallel=True, cache=True)
def _overlap_of_score(
    at: int,
    rows: Array,
    row_scales: Array,
    picks: Array,
    pairs: Array,
    pair_scales: Array,
    ends: Array,
    rest: Array,
    factor: Array,
    target: Array,
    base: Array,
    powers: Array,
    strength: float,
) -> Any:
    slot, kind = at // KINDS, at % KINDS
    texts, queries = ends.shape
    totals = np.zeros(texts)
    strength32 = np.float32(strength)
    one = np.exp(strength32)
    for text in numba.prange(texts):
        changed = np.empty(rest.shape[2], dtype=np.float32)
        for query in range(queries):
            end, share = ends[text, query], factor[text, query]
            if end == 0 or share == 0:
                totals[text] += base[text, query]
                continue
            left, real, power = rest[text, query], target[text, query], powers[text, query]
            total = np.float32(0)
            if kind == PICKS:
                pick = picks[slot, text, query]
                # Not the sum of all, less one: what is left may be far smaller.
                scale = power[pick] * one if pick >= 0 else np.float32(0)
                for j in range(pick):
                    scale += power[j]
                for j in range(pick + 1, end):
                    scale += power[j]
                weight = share / scale
                for j in range(end):
                    total += min(left[j] + weight * power[j], real[j])
                if pick >= 0:
                    now = weight * power[pick]
                    old, wanted = left[pick], real[pick]
                    total += min(old + now * one, wanted) - min(old + now, wanted)
                totals[text] += total
                continue
            given = rows[slot, text] if kind == ROWS else pairs[slot, text, query]
            scale = np.float32(0)
            for j in range(end):
                # Most weights are 0 or 1, and exponentials are dear.
                raised = one if given[j] == 1 else np.exp(strength32 * given[j])
                changed[j] = power[j] * (raised if given[j] != 0 else np.float32(1))
                scale += changed[j]
            weight = share / scale
            for j in range(end):
                total += min(left[j] + weight * changed[j], real[j])
            totals[text] += total
    return totals.sum()
