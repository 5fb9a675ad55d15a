"""A program's constants as tensors that gradients reach; rounded, they are a program again.

Weights of a mixture are a softmax of free numbers; logits of a score are free themselves.  The
constants of one program may be used on any number of batches of texts.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from grammar import limits
from grammar.tree import Node
from interpreter.evaluate import Evaluator


@dataclass
class Rule:
    """A rule's parts, [part] free numbers for their weights, and the logits of its scores."""

    condition: Node | None
    nodes: list[Node]
    free: Tensor
    logits: dict[int, Tensor]
    """By the part's place: [logit], in units of 1."""


class Constants:
    """The weights and logits of one program, float32, starting from those in its tree."""

    def __init__(self, program: Node) -> None:
        self.rules = [_rule(child) for child in program.children]

    @property
    def tensors(self) -> list[Tensor]:
        """What an optimizer may change: of each rule its free weights and its logits."""
        return [rule.free for rule in self.rules] + self.logits

    @property
    def weights(self) -> list[Tensor]:
        """Of each rule [part], which sum to 1."""
        return [torch.softmax(rule.free, 0) for rule in self.rules]

    @property
    def logits(self) -> list[Tensor]:
        """Of each score of all rules [logit]."""
        return [logits for rule in self.rules for logits in rule.logits.values()]

    @property
    def settled(self) -> bool:
        """Whether no other constants would give another matrix: one rule with one selection."""
        return len(self.tensors) == 1 and len(self.rules[0].nodes) == 1

    def rounded(self) -> Node:
        """The program with weights in whole percent and logits in tenths; parts below go."""
        children = []
        for rule in self.rules:
            percent = (100 * torch.softmax(rule.free.detach(), 0)).round().int().tolist()
            parts = [
                Node(
                    "part", min(weight, limits.MAX_NUMBER), _rounded_term(node, rule.logits.get(i))
                )
                for i, (weight, node) in enumerate(zip(percent, rule.nodes, strict=True))
                if weight > 0
            ]
            mixture = Node("mixture", *parts)
            guarded = rule.condition is not None
            children.append(Node("when", rule.condition, mixture) if guarded else mixture)  # type: ignore[arg-type]
        return Node("program", *children)


class Features:
    """What a program's parts give on one batch of texts, to be weighed by its constants."""

    def __init__(self, constants: Constants, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._rows: list[Tensor] = []
        """By rule: [text, query, 1], 1.0 where it decides."""
        self._fixed: list[Tensor] = []
        """By rule: [part, text, query, key], the selections on the rule's rows; 0 for scores."""
        self._weights: list[dict[int, list[Tensor]]] = []
        """By rule, by place of a score: the raw weights of its selections."""
        undecided = evaluator.facts.at_query(evaluator.facts.real).float()[:, :, None]
        for rule in constants.rules:
            rows = undecided
            if rule.condition is not None:
                rows = undecided * evaluator.guard(rule.condition)[:, :, None]
            undecided = undecided - rows
            shares = [
                torch.zeros_like(evaluator.sink) if node.op == "score" else evaluator.shares(node)
                for node in rule.nodes
            ]
            self._rows.append(rows)
            self._fixed.append(torch.stack(shares) * rows)
            self._weights.append(
                {
                    i: [evaluator.weights(logit.children[0]) for logit in rule.nodes[i].children]
                    for i in rule.logits
                }
            )

    def matrices(self, constants: Constants) -> Tensor:
        """[text, query, key] float32, as `Evaluator.matrices`, with gradients to the constants."""
        parts = zip(constants.rules, self._rows, self._fixed, self._weights, strict=True)
        return sum((self._mixture(*part) for part in parts), torch.zeros(()))

    def _mixture(
        self, rule: Rule, rows: Tensor, fixed: Tensor, weights: dict[int, list[Tensor]]
    ) -> Tensor:
        shares = torch.softmax(rule.free, 0).to(fixed.device)
        result: Tensor = torch.tensordot(shares, fixed, dims=1)
        for i, logits in rule.logits.items():
            result = result + shares[i] * self._evaluator.softmax(logits, weights[i]) * rows
        return result


def _rule(child: Node) -> Rule:
    condition, mixture = child.children if child.op == "when" else (None, child)
    weights = torch.tensor([float(cast(int, part.args[0])) for part in mixture.children])
    nodes = [part.children[0] for part in mixture.children]
    logits = {
        i: torch.tensor([cast(int, logit.args[0]) for logit in node.children]) / 10
        for i, node in enumerate(nodes)
        if node.op == "score"
    }
    return Rule(condition, nodes, (weights / weights.sum()).log(), logits)


def _rounded_term(node: Node, logits: Tensor | None) -> Node:
    if logits is None:
        return node
    most = round(10 * limits.MAX_LOGIT)
    tenths = (10 * logits.detach()).round().clamp(-most, most).int().tolist()
    pairs = zip(tenths, node.children, strict=True)
    return Node("score", *(Node("logit", t, logit.children[0]) for t, logit in pairs))
