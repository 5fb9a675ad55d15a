"""Mixtures and scores of selections, compiled: what every program does with what programs share.

The raw weights of selections lie in three arrays: of those that are the same for every query one
row per text, of those that pick one key for a query its number, of the others one row per query.
A program is a few numbers that point into them, and each of its rows is mixed where a core's
caches hold it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grammar import limits
from grammar.tree import Node
from interpreter.facts import Facts
from interpreter.kept import Slots
from interpreter.overlap import REORDERED

BYTES = 2**28
"""What the selections of one batch may take; with fewer texts at once, more of them are kept."""

MOST_SELECTIONS = limits.MAX_PROGRAM_NODES // 2
"""Of one program, which needs all of its own at once: each has a part or a logit above it."""

LOG2_E = np.float32(1.4426950408889634)
# 2 ** f = exp(f ln 2) by its series: below 2e-7 for f in [-0.5, 0.5].
C1, C2, C3, C4, C5, C6 = (
    np.float32(np.log(2.0) ** k / factorial)
    for k, factorial in enumerate((1, 2, 6, 24, 120, 720), start=1)
)
SMALLEST_POWER = np.float32(-126.0)

Array = NDArray[Any]
Arrays = tuple[Array, Array, Array, Array, Array, Array]
Spread = Callable[[Node], Tensor]
"""Gives the raw weights [text, 1 or query, key] of a selection, not yet cut to what is visible."""


@dataclass(frozen=True)
class _Encoded:
    """A program as numbers; a term below 0 is the score -1 - term."""

    rules: Array
    weights: Array
    terms: Array
    scores: Array
    logits: Array
    selections: Array


ROWS, PICKS, PAIRS = range(3)
"""The kinds of raw weights; a selection's index is KINDS * slot + kind."""
KINDS = 3


class Mixer:
    """Mixes programs on one batch of facts, on the CPU."""

    def __init__(self, facts: Facts) -> None:
        texts, queries, keys = self._shape = tuple(facts.visible.shape)
        # The visible keys of a query are the first of the text.
        self._ends = facts.visible.sum(-1).numpy()

        def room(numbers: int) -> int:
            """Slots for selections of so many numbers; room costs nothing until it is used."""
            return max(MOST_SELECTIONS, BYTES // (4 * numbers))

        by_row, by_pick, by_pair = (
            room(texts * n) for n in (keys + queries, queries, queries * keys)
        )
        self._slots = (Slots(by_row), Slots(by_pick), Slots(by_pair))
        self._rows = np.empty((by_row, texts, keys), dtype=np.float32)
        self._picks = np.empty((by_pick, texts, queries), dtype=np.int32)
        self._pairs = np.empty((by_pair, texts, queries, keys), dtype=np.float32)
        self._row_scales = np.empty((by_row, texts, queries), dtype=np.float32)
        self._pair_scales = np.empty((by_pair, texts, queries), dtype=np.float32)
        """What makes the raw weights of a query shares, 0 where it has none."""

    @property
    def arrays(self) -> Arrays:
        """Raw weights and what makes them shares, by kind, and how many keys each query sees."""
        by_row, by_pair = (self._rows, self._row_scales), (self._pairs, self._pair_scales)
        return *by_row, self._picks, *by_pair, self._ends

    def matrices(self, program: Node, rule_of: Tensor, spread: Spread) -> Tensor:
        """[text, query, key] float32; `rule_of` [text, query] uint8 says which rule decides."""
        encoded = self._encoded(program, spread)
        result = torch.empty(self._shape)
        _mix(
            *self.arrays,
            rule_of.numpy(),
            encoded.rules,
            encoded.weights,
            encoded.terms,
            encoded.scores,
            encoded.logits,
            encoded.selections,
            result.numpy(),
        )
        return result

    def _encoded(self, program: Node, spread: Spread) -> _Encoded:
        rules, weights, terms, scores, logits, selections = [0], [], [], [0], [], []
        for rule in program.children:
            mixture = rule.children[-1] if rule.op == "when" else rule
            numbers = [cast(int, part.args[0]) for part in mixture.children]
            for number, part in zip(numbers, mixture.children, strict=True):
                term = part.children[0]
                weights.append(number / sum(numbers))
                if term.op != "score":
                    terms.append(self.index(term, spread))
                    continue
                terms.append(-len(scores))
                for logit in term.children:
                    logits.append(cast(int, logit.args[0]) / 10)
                    selections.append(self.index(logit.children[0], spread))
                scores.append(len(logits))
            rules.append(len(terms))
        return _Encoded(
            np.array(rules),
            np.array(weights, dtype=np.float32),
            np.array(terms),
            np.array(scores),
            np.array(logits, dtype=np.float32),
            np.array(selections, dtype=np.int64),
        )

    def index(self, selection: Node, spread: Spread) -> int:
        """Where in `arrays` the selection's weights are; they are computed where not known."""
        for kind, slots in enumerate(self._slots):
            known = slots.find(selection)
            if known is not None:
                return KINDS * known + kind
        weights = spread(selection).expand(self._shape[0], -1, -1).contiguous().numpy()
        if weights.shape[1] < self._shape[1]:
            slot = self._slots[ROWS].take(selection)
            self._rows[slot] = weights[:, 0]
            _invert_totals(weights, self._ends, self._row_scales[slot])
            return KINDS * slot + ROWS
        picks = np.empty(self._shape[:2], dtype=np.int32)
        if _picks_one(weights, self._ends, picks):
            slot = self._slots[PICKS].take(selection)
            self._picks[slot] = picks
            return KINDS * slot + PICKS
        slot = self._slots[PAIRS].take(selection)
        self._pairs[slot] = weights
        _invert_totals(weights, self._ends, self._pair_scales[slot])
        return KINDS * slot + PAIRS


@numba.njit(cache=True)
def _picks_one(weights: Array, ends: Array, picks: Array) -> bool:
    """Whether no query weighs more than one key, and that by 1; `picks` is then that key, or -1."""
    for text in range(weights.shape[0]):
        for query in range(weights.shape[1]):
            picks[text, query] = -1
            for j in range(ends[text, query]):
                weight = weights[text, query, j]
                if weight != 0:
                    if weight != 1 or picks[text, query] >= 0:
                        return False
                    picks[text, query] = j
    return True


@numba.njit(fastmath=REORDERED, cache=True)
def _invert_totals(weights: Array, ends: Array, scales: Array) -> None:
    for text in range(ends.shape[0]):
        for query in range(ends.shape[1]):
            row = weights[text, min(query, weights.shape[1] - 1)]
            total = np.float32(0)
            for j in range(ends[text, query]):
                total += row[j]
            scales[text, query] = np.float32(1) / total if total > 0 else np.float32(0)


@numba.njit(fastmath=REORDERED, inline="always")
def exponentials(row: Array, end: int, bits: Array, powers: Array) -> Any:
    """Makes `row` the exponentials of itself less its maximum, and returns their sum.

    `bits` int32 and `powers` float32 are the same memory.
    """
    top = row[0]
    for j in range(1, end):
        top = max(top, row[j])
    for j in range(end):
        x = max((row[j] - top) * LOG2_E, SMALLEST_POWER)
        whole = np.floor(x + np.float32(0.5))
        f = x - whole
        row[j] = np.float32(1) + f * (C1 + f * (C2 + f * (C3 + f * (C4 + f * (C5 + f * C6)))))
        bits[j] = (np.int32(whole) + np.int32(127)) << np.int32(23)
    total = np.float32(0)
    for j in range(end):
        row[j] *= powers[j]
        total += row[j]
    return total


@numba.njit(fastmath=REORDERED, parallel=True, cache=True)
def _mix(
    rows: Array,
    row_scales: Array,
    picks: Array,
    pairs: Array,
    pair_scales: Array,
    ends: Array,
    rule_of: Array,
    rules: Array,
    weights: Array,
    terms: Array,
    scores: Array,
    logits: Array,
    selections: Array,
    result: Array,
) -> None:
    texts, queries, keys = result.shape
    for text in numba.prange(texts):
        row = np.empty(keys, dtype=np.float32)
        bits = np.empty(keys, dtype=np.int32)
        powers = bits.view(np.float32)
        for query in range(queries):
            out = result[text, query]
            out[:] = 0
            end = ends[text, query]
            if end == 0:
                continue
            rule = rule_of[text, query]
            for part in range(rules[rule], rules[rule + 1]):
                term, weight = terms[part], weights[part]
                if term < 0:
                    row[:end] = 0
                    for k in range(scores[-1 - term], scores[-term]):
                        logit, slot, kind = logits[k], selections[k] // KINDS, selections[k] % KINDS
                        if kind == PICKS:
                            if picks[slot, text, query] >= 0:
                                row[picks[slot, text, query]] += logit
                            continue
                        given = rows[slot, text] if kind == ROWS else pairs[slot, text, query]
                        for j in range(end):
                            row[j] += logit * given[j]
                    weight /= exponentials(row, end, bits, powers)
                    for j in range(end):
                        out[j] += weight * row[j]
                    continue
                slot, kind = term // KINDS, term % KINDS
                if kind == PICKS:
                    out[max(picks[slot, text, query], 0)] += weight
                    continue
                scales = row_scales if kind == ROWS else pair_scales
                weight *= scales[slot, text, query]
                if weight == 0:
                    out[0] += weights[part]
                    continue
                given = rows[slot, text] if kind == ROWS else pairs[slot, text, query]
                for j in range(end):
                    out[j] += weight * given[j]
