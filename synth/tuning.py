"""Tunes programs' constants inside the running model, all replaced heads in place.

The loss is how far the changed model's predictions are from the original's (Kullback-Leibler, on
train documents).  Steps go by turns through shares of the heads, in a fixed order, and the
logarithm of the divergence is what is followed, so that a head that is replaced among few is
tuned for few as well as for all.  A round begins with the rounded programs of the one before, so
that going on from what was stored is the same as never having stopped; its steps are smaller than
those of the round before.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from grammar.canonical import canonical
from grammar.tree import Node
from interpreter.capture import Head
from interpreter.evaluate import Evaluator
from interpreter.likelihood import batches, examples
from interpreter.models import LoadedModel, load_spacy
from interpreter.rows import FactsOf, Rows
from interpreter.substitution import substituted
from interpreter.texts import Texts
from synth.constants import Constants
from synth.slopes import matrices

SHARES = (0.1, 0.25, 0.5, 1.0)
STEP_SHARES = (0.1, 0.25, 0.5, 1.0, 0.5, 1.0)
"""Of as many steps; large shares come more often: most heads are in them alone."""

TEXTS_AT_ONCE = 2
STEPS = 40
"""Of one round; each is a pass forwards and backwards."""

LEARNING_RATE = 0.1
WARM_UP = 5
"""Steps until it is reached: Adam's first steps are all of full length."""

FALL = 0.8
"""From one round to the next."""

SMALLEST = 1e-6
"""Nats a token; keeps the logarithm finite where two predictions are the same."""


def learning_rate(number: int, step: int) -> float:
    """Of a step of round `number`, both from 0: it rises in a line, then falls as a cosine."""
    warm = min(1.0, (step + 1) / WARM_UP)
    return LEARNING_RATE * FALL**number * warm * (1 + math.cos(math.pi * step / STEPS)) / 2


def shares_of_steps(number: int) -> list[float]:
    """The share of heads in place at each step of round `number`.

    The order is drawn: batches go by turns, and with an order by turns too some would never meet.
    """
    random = Random(number)
    cycles = -(-STEPS // len(STEP_SHARES))
    drawn = [random.sample(STEP_SHARES, len(STEP_SHARES)) for _ in range(cycles)]
    return [share for cycle in drawn for share in cycle][:STEPS]


@dataclass(frozen=True)
class _Read:
    """A batch with what is known of it before any program."""

    rows: Rows
    evaluator: Evaluator


class Tuner:
    """Tunes and judges programs on some texts, heads replaced in the given order."""

    def __init__(
        self,
        loaded: LoadedModel,
        texts: Texts,
        order: Sequence[Head],
        max_tokens: int,
        facts_of: FactsOf,
    ) -> None:
        self._model = loaded.model
        self._order = order
        self._facts_of = facts_of
        self._tagger = load_spacy()
        chosen = examples(loaded, texts, max_tokens)
        self._batches = batches(loaded, chosen, len(order), TEXTS_AT_ONCE)
        self._known: dict[int, _Read] = {}
        self._originals: dict[int, Tensor] = {}

    def divergences(self, programs: Mapping[Head, Node]) -> list[float]:
        """Nats a token between original and changed model, for each of `SHARES`."""
        totals, asked = [0.0] * len(SHARES), 0
        constants = {head: Constants(tree) for head, tree in programs.items()}
        with torch.no_grad():
            for number in range(len(self._batches)):
                original = self._original(number)
                asked += len(original)
                patterns = self._patterns(number, constants, self._order)
                for i, share in enumerate(SHARES):
                    some = {head: patterns[head] for head in self._first(share)}
                    totals[i] += float(self._divergence(number, original, some))
        return [total / asked for total in totals]

    def tuned(
        self, programs: Mapping[Head, Node], number: int, done: Callable[[], None]
    ) -> dict[Head, Node]:
        """The canonical programs after round `number` (from 0), weights and logits rounded."""
        constants = {head: Constants(tree) for head, tree in programs.items()}
        tensors = [tensor for head in self._order for tensor in constants[head].tensors]
        for tensor in tensors:
            tensor.requires_grad_(True)
        optimizer = torch.optim.Adam(tensors, lr=LEARNING_RATE)
        for step, share in enumerate(shares_of_steps(number)):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(number, step)
            at = (number * STEPS + step) % len(self._batches)
            original = self._original(at)
            patterns = self._patterns(at, constants, self._first(share))
            optimizer.zero_grad()
            loss = self._divergence(at, original, patterns) / len(original)
            torch.log(loss.clamp_min(SMALLEST)).backward()
            optimizer.step()
            done()
        return {head: canonical(constants[head].rounded()) for head in programs}

    def _first(self, share: float) -> Sequence[Head]:
        return self._order[: max(1, round(share * len(self._order)))]

    def _original(self, number: int) -> Tensor:
        """[token, vocabulary] float32: what the model itself predicts, in logarithms."""
        if number not in self._originals:
            with torch.no_grad():
                # Halves keep the memory down; a divergence is off by a thousandth of a nat a token.
                self._originals[number] = torch.log_softmax(
                    self._batches[number].logits(), -1
                ).bfloat16()
        return self._originals[number].float()

    def _patterns(
        self, number: int, constants: Mapping[Head, Constants], heads: Sequence[Head]
    ) -> dict[Head, Tensor]:
        read = self._known.get(number)
        if read is None:
            batch = self._batches[number]
            rows = batch.rows(self._tagger, self._facts_of)
            read = self._known[number] = _Read(rows, Evaluator(rows.facts))
        return {head: read.rows.placed(matrices(constants[head], read.evaluator)) for head in heads}

    def _divergence(self, number: int, original: Tensor, patterns: Mapping[Head, Tensor]) -> Tensor:
        with substituted(self._model, patterns):
            changed = torch.log_softmax(self._batches[number].logits(), -1)
        return (original.exp() * (original - changed)).sum()
