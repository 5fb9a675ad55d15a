"""What IoU rises by with each constant of a program, compiled: the gradient that fitting follows.

A row of the program, its overlap with the head's row and what that rises by are computed together,
where a core's caches hold them.  `Features` in `synth.constants` is the same by autograd.
"""

import numba
import numpy as np
import torch
from torch import Tensor

from grammar.tree import Node
from interpreter.evaluate import Evaluator
from interpreter.mixing import KINDS, PICKS, ROWS, Array, Mixer, exponentials
from interpreter.overlap import REORDERED
from synth.constants import Constants


class Slopes:
    """IoU of one program with one head on a batch of texts, and its gradient."""

    def __init__(
        self, constants: Constants, evaluator: Evaluator, mixer: Mixer, target: Tensor
    ) -> None:
        """`target` is [text, query, key] float32, rows sum to 1 or, on padding, to 0."""
        self._arrays = mixer.arrays
        self._target = target.numpy()
        shape = target.shape[:2]
        rule_of = torch.full(shape, len(constants.rules) - 1, dtype=torch.uint8)
        for number in reversed(range(len(constants.rules) - 1)):
            condition = constants.rules[number].condition
            assert condition is not None
            rule_of[evaluator.guard(condition)] = number
        self._rule_of = rule_of.numpy()
        self._rows = evaluator.facts.real.sum(1).float()

        def index(selection: Node) -> int:
            return mixer.index(selection, evaluator.spread)

        rules, terms, scores, selections = [0], [], [0], []
        for rule in constants.rules:
            for node in rule.nodes:
                if node.op != "score":
                    terms.append(index(node))
                    continue
                terms.append(-len(scores))
                selections += [index(logit.children[0]) for logit in node.children]
                scores.append(len(selections))
            rules.append(len(terms))
        self._form = tuple(np.array(part, dtype=np.int64) for part in (rules, terms, scores))
        self._selections = np.array(selections, dtype=np.int64)
        self._overlaps = np.empty(shape[0])
        self._by_weight = np.empty((shape[0], len(terms)))
        self._by_logit = np.empty((shape[0], len(selections)))

    def descend(self, constants: Constants) -> float:
        """The mean IoU; leaves the gradient of 1 - IoU with each of the constants' tensors."""
        with torch.no_grad():
            weights = [torch.softmax(rule.free, 0) for rule in constants.rules]
            logits = [tensor for rule in constants.rules for tensor in rule.logits.values()]
            rules, terms, scores = self._form
            _slopes(
                *self._arrays,
                self._rule_of,
                rules,
                torch.cat(weights).numpy(),
                terms,
                scores,
                torch.cat(logits).numpy() if logits else np.empty(0, dtype=np.float32),
                self._selections,
                self._target,
                self._overlaps,
                self._by_weight,
                self._by_logit,
            )
            overlap = torch.from_numpy(self._overlaps).float()
            # IoU is o / (2n - o), so it rises by 2n / (2n - o)^2 with o; see `interpreter.scores`.
            union = 2 * self._rows - overlap
            rise = (2 * self._rows / union.square() / len(overlap)).double()
            by_weight = (rise @ torch.from_numpy(self._by_weight)).float()
            by_logit = (rise @ torch.from_numpy(self._by_logit)).float()
            parts = by_weight.split([len(weight) for weight in weights])
            for rule, weight, slope in zip(constants.rules, weights, parts, strict=True):
                rule.free.grad = -weight * (slope - (weight * slope).sum())
            for tensor, slope in zip(logits, by_logit.split([len(t) for t in logits]), strict=True):
                tensor.grad = -slope
            return float((overlap / union).mean())


@numba.njit(fastmath=REORDERED, parallel=True, cache=True)
def _slopes(
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
    target: Array,
    overlaps: Array,
    by_weight: Array,
    by_logit: Array,
) -> None:
    texts, queries, keys = target.shape
    for text in numba.prange(texts):
        overlaps[text] = 0
        by_weight[text] = 0
        by_logit[text] = 0
        out = np.empty(keys, dtype=np.float32)
        below = np.empty(keys, dtype=np.float32)
        bits = np.empty(keys, dtype=np.int32)
        powers = bits.view(np.float32)
        softmax = np.empty((len(scores) - 1, keys), dtype=np.float32)
        for query in range(queries):
            end = ends[text, query]
            if end == 0:
                continue
            out[:end] = 0
            rule = rule_of[text, query]
            for part in range(rules[rule], rules[rule + 1]):
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
            real = target[text, query]
            overlap = np.float32(0)
            for j in range(end):
                overlap += min(out[j], real[j])
                # Half where both are equal, as torch has it.
                below[j] = np.float32(out[j] < real[j]) + np.float32(0.5) * np.float32(
                    out[j] == real[j]
                )
            overlaps[text] += overlap
            for part in range(rules[rule], rules[rule + 1]):
                term, weight = terms[part], weights[part]
                if term < 0:
                    row = softmax[-1 - term]
                    mean = np.float32(0)
                    for j in range(end):
                        mean += below[j] * row[j]
                    by_weight[text, part] += mean
                    for k in range(scores[-1 - term], scores[-term]):
                        slot, kind = selections[k] // KINDS, selections[k] % KINDS
                        slope = np.float32(0)
                        if kind == PICKS:
                            pick = picks[slot, text, query]
                            if pick >= 0:
                                slope = row[pick] * (below[pick] - mean)
                        else:
                            given = rows[slot, text] if kind == ROWS else pairs[slot, text, query]
                            for j in range(end):
                                slope += row[j] * (below[j] - mean) * given[j]
                        by_logit[text, k] += weight * slope
                    continue
                slot, kind = term // KINDS, term % KINDS
                if kind == PICKS:
                    by_weight[text, part] += below[max(picks[slot, text, query], 0)]
                    continue
                scale = (row_scales if kind == ROWS else pair_scales)[slot, text, query]
                if scale == 0:
                    by_weight[text, part] += below[0]
                    continue
                given = rows[slot, text] if kind == ROWS else pairs[slot, text, query]
                slope = np.float32(0)
                for j in range(end):
                    slope += below[j] * given[j]
                by_weight[text, part] += scale * slope
