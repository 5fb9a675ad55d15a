"""Fits a program's constants to one head by gradient, then rounds and prunes.

The evaluator is differentiable in weights and logits.  Weights are a softmax of free numbers;
the loss is 1 - IoU, whose subgradient is that of the minimum.  What is returned is a canonical
program with whole-number weights, so its score is that of the text that is stored.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from grammar import limits
from grammar.canonical import FIRST, canonical
from grammar.tree import Node
from interpreter.evaluate import Evaluator
from interpreter.scores import iou

STEPS = 80
STEPS_AFTER_PRUNING = 25
"""Fewer, because what is left starts from constants that were fitted with what is gone."""

LEARNING_RATE = 0.15
WORTH = 0.002
"""IoU on the fitting texts that a part must add to stay in the program."""


@dataclass
class _Term:
    """A part of a mixture: fixed shares, or a score whose logits are fitted too."""

    node: Node
    shares: Tensor | None
    """[text, query, key]."""
    logits: Tensor
    weights: list[Tensor]


@dataclass
class _Rule:
    condition: Node | None
    rows: Tensor
    """[text, query, 1]: the rows that this rule decides, 1.0 or 0.0."""
    free: Tensor
    """[part]: the weights are its softmax."""
    terms: list[_Term]
    fixed: Tensor
    """[part, text, query, key]: the parts without constants of their own, on the rule's rows."""


class Fitter:
    """Fits programs to heads on one set of texts.

    `evaluator` is of those texts; targets are [text, query, key] float32.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def score(self, program: Node, target: Tensor) -> float:
        """Mean IoU over the texts."""
        return float(iou(target, self._evaluator.matrices(program)).mean())

    def fit(self, program: Node, target: Tensor) -> Node:
        """The canonical program with fitted constants, without parts that earn nothing."""
        fitted = self._fit_constants(program, target)
        return self._pruned(fitted, target)

    def _fit_constants(self, program: Node, target: Tensor, steps: int = STEPS) -> Node:
        rules = self._rules(program)
        constants = [rule.free for rule in rules]
        constants += [t.logits for rule in rules for t in rule.terms if t.shares is None]
        if len(constants) == 1 and len(rules[0].terms) == 1:
            return canonical(_rounded(rules))
        for constant in constants:
            constant.requires_grad_(True)
        optimizer = torch.optim.Adam(constants, lr=LEARNING_RATE)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = 1 - iou(target, self._matrices(rules)).mean()
            loss.backward()
            optimizer.step()
        return canonical(_rounded(rules))

    def _pruned(self, program: Node, target: Tensor) -> Node:
        """Drops the part that costs least, again and again, while it costs less than `WORTH`."""
        best = self.score(program, target)
        while True:
            smaller = [(self.score(p, target), p) for p in _without_one_part(program)]
            if not smaller:
                return program
            _, candidate = max(smaller, key=lambda pair: pair[0])
            candidate = self._fit_constants(candidate, target, STEPS_AFTER_PRUNING)
            score = self.score(candidate, target)
            if score < best - WORTH:
                return program
            program, best = candidate, max(best, score)

    def _rules(self, program: Node) -> list[_Rule]:
        rules = []
        undecided = self._evaluator.facts.real.float()[:, :, None]
        for child in program.children:
            condition, mixture = child.children if child.op == "when" else (None, child)
            rows = undecided
            if condition is not None:
                rows = undecided * self._evaluator.guard(condition)[:, :, None]
            undecided = undecided - rows
            parts = [cast(tuple[int, Node], part.args) for part in mixture.children]
            weights = torch.tensor([float(weight) for weight, _ in parts])
            terms = [self._term(node) for _, node in parts]
            shares = [
                torch.zeros_like(self._evaluator.sink) if t.shares is None else t.shares
                for t in terms
            ]
            fixed = torch.stack(shares) * rows
            rules.append(_Rule(condition, rows, (weights / weights.sum()).log(), terms, fixed))
        return rules

    def _term(self, node: Node) -> _Term:
        if node.op != "score":
            shares = self._evaluator.shares(node)
            # What finds nothing in any of the texts says no more than `first`, and reads worse.
            plain = FIRST if torch.equal(shares, self._evaluator.sink) else node
            return _Term(plain, shares, torch.empty(0), [])
        tenths = [cast(int, logit.args[0]) for logit in node.children]
        weights = [self._evaluator.weights(logit.children[0]) for logit in node.children]
        return _Term(node, None, torch.tensor(tenths) / 10, weights)

    def _matrices(self, rules: list[_Rule]) -> Tensor:
        return sum((self._mixture(rule) for rule in rules), torch.zeros(()))

    def _mixture(self, rule: _Rule) -> Tensor:
        weights = torch.softmax(rule.free, 0)
        result: Tensor = torch.tensordot(weights, rule.fixed, dims=1)
        for weight, term in zip(weights, rule.terms, strict=True):
            if term.shares is None:
                score = self._evaluator.softmax(term.logits, term.weights)
                result = result + weight * score * rule.rows
        return result


def _rounded(rules: list[_Rule]) -> Node:
    """The program with weights in whole percent and logits in tenths."""
    nodes = []
    for rule in rules:
        percent = (100 * torch.softmax(rule.free.detach(), 0)).round().int().tolist()
        parts = [
            Node("part", min(weight, limits.MAX_NUMBER), _rounded_term(term))
            for weight, term in zip(percent, rule.terms, strict=True)
            if weight > 0
        ]
        mixture = Node("mixture", *parts)
        nodes.append(mixture if rule.condition is None else Node("when", rule.condition, mixture))
    return Node("program", *nodes)


def _rounded_term(term: _Term) -> Node:
    if term.shares is not None:
        return term.node
    most = round(10 * limits.MAX_LOGIT)
    tenths = (10 * term.logits.detach()).round().clamp(-most, most).int().tolist()
    logits = zip(tenths, term.node.children, strict=True)
    return Node("score", *(Node("logit", t, logit.children[0]) for t, logit in logits))


def _without_one_part(program: Node) -> list[Node]:
    """The program with each of its parts, logits and guarded rules left out in turn."""
    found = []
    rules = program.children
    for i, rule in enumerate(rules):
        if rule.op == "when":
            found.append(Node("program", *rules[:i], *rules[i + 1 :]))
        mixture = rule.children[-1] if rule.op == "when" else rule
        for smaller in _smaller_mixtures(mixture):
            new = Node("when", rule.children[0], smaller) if rule.op == "when" else smaller
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
