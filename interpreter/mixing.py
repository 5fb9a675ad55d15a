"""Mixtures and scores of selections, compiled: what every program does with what programs share.

The raw weights of all selections of a batch lie in one array.  A program is a few numbers that
point into it, and each of its rows is mixed where a core's caches hold it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grammar.tree import Node
from interpreter.facts import Facts
from interpreter.overlap import REORDERED

FIRST_SELECTIONS = 256
"""Room for so many, which costs nothing until it is used; doubled when it is full."""

LOG2_E = np.float32(1.4426950408889634)
# 2 ** f = exp(f ln 2) by its series: below 2e-7 for f in [-0.5, 0.5].
C1, C2, C3, C4, C5, C6 = (
    np.float32(np.log(2.0) ** k / factorial)
    for k, factorial in enumerate((1, 2, 6, 24, 120, 720), start=1)
)
SMALLEST_POWER = np.float32(-126.0)

Array = NDArray[Any]


@dataclass(frozen=True)
class _Encoded:
    """A program as numbers; a term below 0 is the score -1 - term."""

    rules: Array
    weights: Array
    terms: Array
    scores: Array
    logits: Array
    selections: Array


class Mixer:
    """Mixes programs on one batch of facts, on the CPU."""

    def __init__(self, facts: Facts, weights: Callable[[Node], Tensor]) -> None:
        """`weights` gives the raw weights [text, query, key] of a selection."""
        self._compute = weights
        self._known: dict[Node, int] = {}
        texts, queries, keys = facts.visible.shape
        self._raw = torch.empty(FIRST_SELECTIONS, texts, queries, keys)
        self._inverse = torch.empty(FIRST_SELECTIONS, texts, queries)
        # The visible keys of a query are the first of the text.
        self._ends = facts.visible.sum(-1).numpy()

    def matrices(self, program: Node, rule_of: Tensor) -> Tensor:
        """[text, query, key] float32; `rule_of` [text, query] uint8 says which rule decides."""
        encoded = self._encoded(program)
        result = torch.empty(self._raw.shape[1:])
        _mix(
            self._raw.numpy(),
            self._inverse.numpy(),
            self._ends,
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

    def _encoded(self, program: Node) -> _Encoded:
        rules, weights, terms, scores, logits, selections = [0], [], [], [0], [], []
        for rule in program.children:
            mixture = rule.children[-1] if rule.op == "when" else rule
            numbers = [cast(int, part.args[0]) for part in mixture.children]
            for number, part in zip(numbers, mixture.children, strict=True):
                term = part.children[0]
                weights.append(number / sum(numbers))
                if term.op != "score":
                    terms.append(self._index(term))
                    continue
                terms.append(-len(scores))
                for logit in term.children:
                    logits.append(cast(int, logit.args[0]) / 10)
                    selections.append(self._index(logit.children[0]))
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

    def _index(self, selection: Node) -> int:
        """Where the selection's weights are; they are computed where they are not known."""
        known = self._known.get(selection)
        if known is not None:
            return known
        index = len(self._known)
        if index == len(self._raw):
            self._raw = torch.cat([self._raw, torch.empty_like(self._raw)])
            self._inverse = torch.cat([self._inverse, torch.empty_like(self._inverse)])
        self._raw[index] = self._compute(selection)
        total = self._raw[index].sum(-1)
        self._inverse[index] = torch.where(total > 0, 1 / total.clamp_min(1e-30), 0.0)
        self._known[selection] = index
        return index


@numba.njit(fastmath=REORDERED, inline="always")
def _exponentials(row: Array, end: int, bits: Array, powers: Array) -> Any:
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
    raw: Array,
    inverse: Array,
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
                term = terms[part]
                if term >= 0:
                    scale = weights[part] * inverse[term, text, query]
                    if scale == 0:
                        out[0] += weights[part]
                        continue
                    given = raw[term, text, query]
                    for j in range(end):
                        out[j] += scale * given[j]
                    continue
                row[:end] = 0
                for k in range(scores[-1 - term], scores[-term]):
                    logit, given = logits[k], raw[selections[k], text, query]
                    for j in range(end):
                        row[j] += logit * given[j]
                scale = weights[part] / _exponentials(row, end, bits, powers)
                for j in range(end):
                    out[j] += scale * row[j]
