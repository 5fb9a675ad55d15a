"""Gradients with a program's constants, compiled: of IoU, which fitting follows, and of any loss.

A row of the program and what it changes by are computed together, where a core's caches hold them.
`Features` in `synth.constants` is the same by autograd.
"""

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from interpreter.evaluate import Evaluator
from interpreter.mixing import KINDS, PICKS, ROWS, Array, Form, Mixer, mix_row
from interpreter.overlap_cores import REORDERED
from synth.constants import Constants, Features


def matrices(constants: Constants, evaluator: Evaluator) -> Tensor:
    """[text, query, key] float32, as `Evaluator.matrices`, with gradients to the constants."""
    if evaluator.mixer is None:
        return Features(constants, evaluator).matrices(constants)
    weights, logits = constants.weights, constants.logits
    found: Tensor = _Mixed.apply(constants, evaluator, torch.cat(weights), _joined(logits))
    return found


class _Mixed(torch.autograd.Function):
    """A program's matrices of its weights and logits, each in a row of all rules."""

    @staticmethod
    def forward(
        ctx: Any, constants: Constants, evaluator: Evaluator, weights: Tensor, logits: Tensor
    ) -> Tensor:
        ctx.program = constants, evaluator
        ctx.save_for_backward(weights, logits)
        mixer, form, rule_of = _formed(constants, evaluator)
        return mixer.mixed(form, rule_of, weights.numpy(), logits.numpy())

    @staticmethod
    def backward(ctx: Any, pull: Tensor) -> tuple[None, None, Tensor, Tensor]:
        weights, logits = ctx.saved_tensors
        # Formed again: other programs may have taken the places of this one's selections.
        mixer, form, rule_of = _formed(*ctx.program)
        by_weight = np.empty((len(pull), len(weights)))
        by_logit = np.empty((len(pull), len(logits)))
        _slopes(
            *mixer.arrays,
            rule_of.numpy(),
            form.rules,
            weights.numpy(),
            form.terms,
            form.scores,
            logits.numpy(),
            form.selections,
            pull.contiguous().numpy(),
            by_weight,
            by_logit,
        )
        return None, None, _summed(by_weight), _summed(by_logit)


def _formed(constants: Constants, evaluator: Evaluator) -> tuple[Mixer, Form, Tensor]:
    """The program as numbers, and which rule decides where."""
    mixer, rules = evaluator.mixer, constants.rules
    assert mixer is not None
    rule_of = evaluator.rule_of([rule.condition for rule in rules if rule.condition is not None])
    return mixer, mixer.form([rule.nodes for rule in rules], evaluator.spread), rule_of


def _joined(tensors: list[Tensor]) -> Tensor:
    return torch.cat(tensors) if tensors else torch.empty(0)


def _summed(by_text: Array) -> Tensor:
    return torch.from_numpy(by_text.sum(0)).float()


class Slopes:
    """IoU of one program with one head on a batch of texts, and its gradient."""

    def __init__(self, constants: Constants, evaluator: Evaluator, target: Tensor) -> None:
        """`target` is [text, query, key] float32, rows sum to 1 or, on padding, to 0."""
        self._mixer, self._form, self._rule_of = _formed(constants, evaluator)
        self._target = target.numpy()
        self._rows = evaluator.facts.real.sum(1).float()
        texts = len(target)
        self._overlaps = np.empty(texts)
        self._by_weight = np.empty((texts, len(self._form.terms)))
        self._by_logit = np.empty((texts, len(self._form.selections)))

    def descend(self, constants: Constants) -> float:
        """The mean IoU; leaves the gradient of 1 - IoU with each of the constants' tensors."""
        with torch.no_grad():
            weights, logits, form = constants.weights, constants.logits, self._form
            _iou_slopes(
                *self._mixer.arrays,
                self._rule_of.numpy(),
                form.rules,
                torch.cat(weights).numpy(),
                form.terms,
                form.scores,
                _joined(logits).numpy(),
                form.selections,
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


@numba.njit(fastmath=REORDERED, inline="always")
def slopes_of_row(
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
    selections: Array,
    softmax: Array,
    pull: Array,
    by_weight: Array,
    by_logit: Array,
) -> None:
    """Adds what the sum of a mixed row times `pull` changes by with each weight and logit."""
    for part in range(first, last):
        term, weight = terms[part], weights[part]
        if term < 0:
            row = softmax[-1 - term]
            mean = np.float32(0)
            for j in range(end):
                mean += pull[j] * row[j]
            by_weight[text, part] += mean
            for k in range(scores[-1 - term], scores[-term]):
                slot, kind = selections[k] // KINDS, selections[k] % KINDS
                slope = np.float32(0)
                if kind == PICKS:
                    pick = picks[slot, text, query]
                    if pick >= 0:
                        slope = row[pick] * (pull[pick] - mean)
                else:
                    given = rows[slot, text] if kind == ROWS else pairs[slot, text, query]
                    for j in range(end):
                        slope += row[j] * (pull[j] - mean) * given[j]
                by_logit[text, k] += weight * slope
            continue
        slot, kind = term // KINDS, term % KINDS
        if kind == PICKS:
            by_weight[text, part] += pull[max(picks[slot, text, query], 0)]
            continue
        scale = (row_scales if kind == ROWS else pair_scales)[slot, text, query]
        if scale == 0:
            by_weight[text, part] += pull[0]
            continue
        given = rows[slot, text] if kind == ROWS else pairs[slot, text, query]
        slope = np.float32(0)
        for j in range(end):
            slope += pull[j] * given[j]
        by_weight[text, part] += scale * slope


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
    pull: Array,
    by_weight: Array,
    by_logit: Array,
) -> None:
    """By how much the sum of the matrices times `pull` changes with each constant."""
    texts, queries, keys = pull.shape
    for text in numba.prange(texts):
        by_weight[text] = 0
        by_logit[text] = 0
        out = np.empty(keys, dtype=np.float32)
        bits = np.empty(keys, dtype=np.int32)
        powers = bits.view(np.float32)
        softmax = np.empty((len(scores), keys), dtype=np.float32)
        for query in range(queries):
            end, rule = ends[text, query], rule_of[text, query]
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
            slopes_of_row(
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
                selections,
                softmax,
                pull[text, query],
                by_weight,
                by_logit,
            )


@numba.njit(fastmath=REORDERED, parallel=True, cache=True)
def _iou_slopes(
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
    """The overlap of each text with the target, and how much it changes with each constant."""
    texts, queries, keys = target.shape
    for text in numba.prange(texts):
        overlaps[text] = 0
        by_weight[text] = 0
        by_logit[text] = 0
        out = np.empty(keys, dtype=np.float32)
        below = np.empty(keys, dtype=np.float32)
        bits = np.empty(keys, dtype=np.int32)
        powers = bits.view(np.float32)
        softmax = np.empty((len(scores), keys), dtype=np.float32)
        for query in range(queries):
            end, rule = ends[text, query], rule_of[text, query]
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
            real = target[text, query]
            overlap = np.float32(0)
            for j in range(end):
                overlap += min(out[j], real[j])
                # Half where both are equal, as torch has it.
                below[j] = np.float32(out[j] < real[j]) + np.float32(0.5) * np.float32(
                    out[j] == real[j]
                )
            overlaps[text] += overlap
            slopes_of_row(
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
                selections,
                softmax,
                below,
                by_weight,
                by_logit,
            )
