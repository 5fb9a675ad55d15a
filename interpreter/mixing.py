"""Mixtures and scores of selections, compiled: what every program does with what programs share.

The raw weights of selections lie in three arrays: of those that are the same for every query one
row per text, of those that pick one key for a query its number, of the others one row per query.
A program is a few numbers that point into them, and each of its rows is mixed where a core's
caches hold it.
"""

from collections.abc import Callable, Sequence
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
from interpreter.overlap_cores import REORDERED

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
class Form:
    """A program without its weights and logits, as numbers that hold until others are asked for."""

    rules: Array
    """Where the terms of each rule begin, and where the last end."""
    terms: Array
    """Selections by their index; below 0 is the score -1 - term."""
    scores: Array
    """Where the selections of each score begin, and where the last end."""
    selections: Array
    """Of the scores."""


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
        rules, weights, logits = [], [], []
        for rule in program.children:
            mixture = rule.children[-1] if rule.op == "when" else rule
            numbers = [cast(int, part.args[0]) for part in mixture.children]
            rules.append([part.children[0] for part in mixture.children])
            weights += [number / sum(numbers) for number in numbers]
            scores = [term.children for term in rules[-1] if term.op == "score"]
            logits += [cast(int, logit.args[0]) / 10 for score in scores for logit in score]
        return self.mixed(
            self.form(rules, spread),
            rule_of,
            np.array(weights, dtype=np.float32),
            np.array(logits, dtype=np.float32),
        )

    def mixed(self, form: Form, rule_of: Tensor, weights: Array, logits: Array) -> Tensor:
        """As `matrices`, with weights [term] and logits [logit] float32 of all rules in a row."""
        result = torch.empty(self._shape)
        _mix(
            *self.arrays,
            rule_of.numpy(),
            form.rules,
            weights,
            form.terms,
            form.scores,
            logits,
            form.selections,
            result.numpy(),
        )
        return result

    def form(self, rules: Sequence[Sequence[Node]], spread: Spread) -> Form:
        """The form of a program of which these are the terms of each rule."""
        begin, terms, scores, selections = [0], [], [0], []
        for rule in rules:
            for term in rule:
                if term.op != "score":
                    terms.append(self.index(term, spread))
                    continue
                terms.append(-len(scores))
                selections += [self.index(logit.children[0], spread) for logit in term.children]
                scores.append(len(selections))
            begin.append(len(terms))
        numbers = (begin, terms, scores, selections)
        return Form(*(np.array(some, dtype=np.int64) for some in numbers))

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


@numba.njit(fastmath=REORDERED, inline="always")
def mix_row(
    rows: Array,
    row_scales: Array,
    picks: Array,
    pairs: Array,
    pair_scales: Array,
    text: int,
    query: int,
    end: int,
    first: int,
    last: int,
    weights: Array,
    terms: Array,
    scores: Array,
    logits: Array,
    selections: Array,
    softmax: Array,
    bits: Array,
    powers: Array,
    out: Array,
) -> None:
    """Writes what the terms from `first` to `last` give a query's keys, up to `end`, to `out`.

    What a score gives is left in its row of `softmax`.
    """
    out[:end] = 0
    for part in range(first, last):
        term, weight = terms[part], weights[part]
        if term < 0:
            row = softmax[-1 - term]
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
            scale = np.float32(1) / exponentials(row, end, bits, powers)
            for j in range(end):
                row[j] *= scale
                out[j] += weight * row[j]
            continue
        slot, kind = term // KINDS, term % KINDS
        if kind == PICKS:
            out[max(picks[slot, text, query], 0)] += weight
            continue
        scale = (row_scales if kind == ROWS else pair_scales)[slot, text, query]
        if scale == 0:
            out[0] += weight
            continue
        given = rows[slot, text] if kind == ROWS else pairs[slot, text, query]
        weight *= scale
        for j in range(end):
            out[j] += weight * given[j]


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
        softmax = np.empty((len(scores), keys), dtype=np.float32)
        bits = np.empty(keys, dtype=np.int32)
        powers = bits.view(np.float32)
        for query in range(queries):
            end, rule = ends[text, query], rule_of[text, query]
            out = result[text, query]
            out[end:] = 0
            if end == 0:
                continue
            mix_row(
                rows,
                row_scales,
                picks,
                pairs,
                pair_scales,
                text,
                query,
                end,
                rules[rule],
                rules[rule + 1],
                weights,
                terms,
                scores,
                logits,
                selections,
                softmax,
                bits,
                powers,
                out,
            )
