"""The definition of the language: one program, one text, plain Python loops.

Slow on purpose: nothing here is shared with the vectorised evaluator but the declarations, and
of those only the scalar halves.
"""

import math
from collections.abc import Sequence
from typing import cast

from grammar.primitives import PRIMITIVES, Kind
from grammar.token_facts import Token
from grammar.tree import Node

Row = dict[int, float]


class Reference:
    """Evaluates programs on one text of n tokens."""

    def __init__(self, tokens: Sequence[Token], *, causal: bool) -> None:
        self.tokens = tokens
        self.causal = causal

    def matrix(self, program: Node) -> list[list[float]]:
        """n rows of n weights; row i says where token i looks, and sums to 1."""
        n = len(self.tokens)
        rows = [self._row(program, i) for i in range(n)]
        return [[row.get(j, 0.0) for j in range(n)] for row in rows]

    def sees(self, i: int, j: int) -> bool:
        """May query i look at key j?"""
        return 0 <= j < len(self.tokens) and (j <= i or not self.causal)

    def holds(self, predicate: Node, i: int, j: int) -> bool:
        """Does the predicate hold for query i and key j?"""
        inner = predicate.children
        match predicate.op:
            case "and":
                return all(self.holds(p, i, j) for p in inner)
            case "or":
                return any(self.holds(p, i, j) for p in inner)
            case "not":
                return not self.holds(inner[0], i, j)
            case "after":
                return j > 0 and self.holds(inner[0], i, j - 1)
            case "before":
                return self.sees(i, j + 1) and self.holds(inner[0], i, j + 1)
            case "query":
                return self.holds(inner[0], i, i)
        primitive = PRIMITIVES[predicate.op]
        if primitive.kind is Kind.TOKEN_CLASS:
            return bool(primitive.scalar(self.tokens[j], *predicate.args))
        return bool(primitive.scalar(self.tokens, i, j, *predicate.args))

    def _row(self, program: Node, i: int) -> Row:
        *guarded, last = program.children
        for rule in guarded:
            condition, mixture = rule.children
            if self.holds(condition, i, i):
                return self._mixture(mixture, i)
        return self._mixture(last, i)

    def _mixture(self, mixture: Node, i: int) -> Row:
        weights = [cast(int, part.args[0]) for part in mixture.children]
        row: Row = {}
        for weight, part in zip(weights, mixture.children, strict=True):
            for j, share in self._shares(part.children[0], i).items():
                row[j] = row.get(j, 0.0) + weight / sum(weights) * share
        return row

    def _shares(self, term: Node, i: int) -> Row:
        """What query i gives each key, summing to 1; the first token where nothing is selected."""
        if term.op == "score":
            return self._softmax(term, i)
        weights = self._weights(term, i)
        total = sum(weights.values())
        return {j: w / total for j, w in weights.items()} if total > 0 else {0: 1.0}

    def _softmax(self, score: Node, i: int) -> Row:
        logits = {j: 0.0 for j in range(len(self.tokens)) if self.sees(i, j)}
        for logit in score.children:
            tenths = cast(int, logit.args[0])
            for j, weight in self._weights(logit.children[0], i).items():
                logits[j] += tenths / 10 * weight
        most = max(logits.values())
        powers = {j: math.exp(logit - most) for j, logit in logits.items()}
        return {j: power / sum(powers.values()) for j, power in powers.items()}

    def _weights(self, selection: Node, i: int) -> Row:
        """The raw weight of each visible key, 0 left out."""
        primitive = PRIMITIVES.get(selection.op)
        predicate, numbers = selection, cast(tuple[int, ...], ())
        if primitive is not None and primitive.kind is Kind.SELECTION:
            predicate = cast(Node, selection.args[0])
            numbers = cast(tuple[int, ...], selection.args[1:])
        members = [
            j for j in range(len(self.tokens)) if self.sees(i, j) and self.holds(predicate, i, j)
        ]
        if predicate is selection:
            return dict.fromkeys(members, 1.0)
        return dict(cast(Row, primitive.scalar(i, members, *numbers))) if primitive else {}
