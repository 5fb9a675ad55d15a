"""Fits a program's constants to one head by gradient, then rounds and prunes.

The loss is 1 - IoU, whose subgradient is that of the minimum.  What is returned is a canonical
program with whole-number weights, so its score is that of the text that is stored.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from grammar.canonical import FIRST, canonical
from grammar.tree import Node
from interpreter.evaluate import Evaluator
from interpreter.scores import iou
from synth.constants import Constants, Features
from synth.library_view import terms
from synth.slopes import Slopes
from synth.structure import mixture_of, with_mixture

STEPS = 80
STEPS_AFTER_PRUNING = 25
"""Fewer, because what is left starts from constants that were fitted with what is gone."""

LEARNING_RATE = 0.15
WORTH = 0.001
"""IoU on the fitting texts that a part must add to stay in the program."""


class Fitter:
    """Fits programs to heads on one set of texts.

    `evaluator` is of those texts; targets are [text, query, key] float32.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator

    def score(self, program: Node, target: Tensor) -> float:
        """Mean IoU over the texts."""
        return float(iou(target, self.evaluator.matrices(program)).mean())

    def fit(self, program: Node, target: Tensor) -> Node:
        """The canonical program with fitted constants, without parts that earn nothing."""
        fitted = self.fit_constants(program, target)
        return self._pruned(fitted, target)

    def fit_constants(self, program: Node, target: Tensor, steps: int = STEPS) -> Node:
        constants = Constants(self._plain(program))
        if constants.settled:
            return canonical(constants.rounded())
        for tensor in constants.tensors:
            tensor.requires_grad_(True)
        optimizer = torch.optim.Adam(constants.tensors, lr=LEARNING_RATE)
        descend = self._descent(constants, target)
        for _ in range(steps):
            optimizer.zero_grad()
            descend()
            optimizer.step()
        return canonical(constants.rounded())

    def _descent(self, constants: Constants, target: Tensor) -> Callable[[], object]:
        """Leaves the gradient of 1 - IoU with each of the constants' tensors."""
        if self.evaluator.mixer is not None:
            slopes = Slopes(constants, self.evaluator, target)
            return lambda: slopes.descend(constants)
        features = Features(constants, self.evaluator)
        return lambda: (1 - iou(target, features.matrices(constants)).mean()).backward()

    def _plain(self, program: Node) -> Node:
        """With `first` for what finds nothing in any text: it says no more, and reads better."""
        if program.op == "part":
            weight, term = cast(tuple[int, Node], program.args)
            if term.op != "score" and torch.equal(self.evaluator.shares(term), self.evaluator.sink):
                return Node("part", weight, FIRST)
            return program
        if program.op in ("program", "when", "mixture"):
            return Node(program.op, *(self._plain(child) for child in program.children))
        return program

    def shrunk(self, program: Node, target: Tensor, most: int) -> Node:
        """The program with `most` terms at most: each time the part goes that costs least."""
        while terms(program) > most:
            program = cast(Node, self._less_one(program, target))
        return program

    def _pruned(self, program: Node, target: Tensor) -> Node:
        """Drops the part that costs least, again and again, while it costs less than `WORTH`."""
        best = self.score(program, target)
        while (candidate := self._less_one(program, target)) is not None:
            score = self.score(candidate, target)
            if score < best - WORTH:
                break
            program, best = candidate, max(best, score)
        return program

    def _less_one(self, program: Node, target: Tensor) -> Node | None:
        """Without the part that costs least, the rest fitted again; None where there is one."""
        smaller = [(self.score(p, target), p) for p in _without_one_part(program)]
        if not smaller:
            return None
        _, candidate = max(smaller, key=lambda pair: pair[0])
        return self.fit_constants(candidate, target, STEPS_AFTER_PRUNING)


def _without_one_part(program: Node) -> list[Node]:
    """The program with each of its parts, logits and guarded rules left out in turn."""
    found = []
    rules = program.children
    for i, rule in enumerate(rules):
        if rule.op == "when":
            found.append(Node("program", *rules[:i], *rules[i + 1 :]))
        mixture = mixture_of(rule)
        for smaller in _smaller_mixtures(mixture):
            new = with_mixture(rule, smaller)
            found.append(canonical(Node("program", *rules[:i], new, *rules[i + 1 :])))
    return found


def _smaller_mixtures(mixture: Node) -> list[Node]:
    parts = mixture.children
    found = [] if len(parts) == 1 else _each_left_out(mixture)
    for i, part in enumerate(parts):
        term = part.children[0]
        if term.op == "score" and len(term.children) > 1:
            for score in _each_left_out(term):
                new = Node("part", part.args[0], score)
                found.append(Node("mixture", *parts[:i], new, *parts[i + 1 :]))
    return found


def _each_left_out(node: Node) -> list[Node]:
    children = node.children
    return [Node(node.op, *children[:i], *children[i + 1 :]) for i in range(len(children))]
