"""Grows programs for what a head writes: part by part, by output error, from a pool of selections.

A mixture writes the weighted sum of what its parts would write alone, so that its weights are a
least-squares problem on the simplex.  The next part is the one that, mixed into what is there,
takes most off the error (Frank and Wolfe's step); then all weights are solved for again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grammar import limits
from grammar.canonical import canonical
from grammar.parser import parse
from grammar.printer import to_text
from grammar.tree import Node
from interpreter.capture import Captured, Head
from interpreter.evaluate import Evaluator
from interpreter.rows import Rows
from synth.vocabulary import term

KINDS = ("newline", "stop", "punctuation", "content")
"""Kinds of query tokens that may have a mixture of their own; the first that holds counts."""

WORTH = 0.001
"""What a part, or a rule, must take off the error, as a share of all that the head writes."""

PLAINNESS = 1e-4
"""What a part must take off more for every node that it is larger, so that `first` comes before
what gives the same for a reason that is hard to read."""


LONGEST = limits.MAX_PROGRAM_CHARACTERS - 100
"""Characters of a program; tuning may write its numbers with more digits."""


@dataclass(frozen=True)
class Richness:
    """How much a program may hold."""

    parts: int = limits.MAX_PARTS
    guards: bool = True


class OutputGrower:
    """Grows programs for the heads of one capture; `rows` are of the same texts."""

    def __init__(self, patterns: Captured, rows: Rows, pool: Sequence[Node]) -> None:
        self._patterns = patterns
        evaluator = Evaluator(rows.facts)
        found: dict[int, tuple[Node, Tensor]] = {}
        for node in pool:
            shares = rows.placed(evaluator.shares(node))
            found.setdefault(hash(shares.numpy().tobytes()), (node, shares))
        self._pool = [node for node, _ in found.values()]
        self._evaluator, self._rows = evaluator, rows
        # [text, term, query, key]: one product with a head's values gives what each would write.
        self._shares = torch.stack([shares for _, shares in found.values()], dim=1)
        self._conditions = [term(kind) for kind in KINDS]
        self._kinds = torch.full(rows.at_queries(evaluator.guard(Node("any"))).shape, len(KINDS))
        for number, condition in reversed(list(enumerate(self._conditions))):
            self._kinds[rows.at_queries(evaluator.guard(condition))] = number

    def grow(self, head: Head, richness: Richness, more: Sequence[Node] = ()) -> Node:
        """The canonical program with rounded weights, from the pool and some terms more.

        It has fewer parts where it would be too long for a program.
        """
        index = self._patterns.heads.index(head)
        values = self._patterns.values[:, index]
        real = self._patterns.attention[:, index] @ values
        # Texts count alike, as they do in the score.
        scale = real.square().sum((1, 2), keepdim=True).clamp_min(1e-12).rsqrt()
        nodes = [*self._pool, *(node for node in more if node not in self._pool)]
        alone = [
            self._rows.placed(self._evaluator.fresh_shares(n)) for n in nodes[len(self._pool) :]
        ]
        shares = torch.stack(alone, dim=1) if alone else self._shares[:, :0]
        written = torch.cat(
            [_written(self._shares, values * scale), _written(shares, values * scale)], dim=1
        )
        target = real * scale
        written = written.transpose(0, 1)
        parts, conditions = richness.parts, self._conditions if richness.guards else []
        while True:
            solve = self._solver(nodes, written, target, parts)
            program = self._ruled(nodes, conditions, solve, len(target))
            text = to_text(program)
            if parts == 1 or (len(text) <= LONGEST and isinstance(parse(text), Node)):
                return program
            parts -= 1

    def _ruled(
        self, nodes: Sequence[Node], conditions: Sequence[Node], solve: "_Solver", texts: int
    ) -> Node:
        """The canonical program of what is solved, with rules where they are worth it."""
        everything = torch.ones_like(self._kinds, dtype=torch.bool)
        whole = solve(everything)
        rules: list[tuple[Node, _Mixture]] = []
        rest = everything
        for number, condition in enumerate(conditions):
            here = self._kinds == number
            if not here.any():
                continue
            own = solve(here)
            if whole.error_on(here) - own.error_on(here) > WORTH * texts:
                rules.append((condition, own))
                rest = rest & ~here
        last = solve(rest) if rules else whole
        children = [Node("when", condition, _mixture(nodes, m)) for condition, m in rules]
        return canonical(Node("program", *children, _mixture(nodes, last)))

    def _solver(
        self, nodes: Sequence[Node], written: Tensor, target: Tensor, parts: int
    ) -> "_Solver":
        """Solves on some of the queries, [text, query] bool."""
        sizes = torch.tensor([float(node.size) for node in nodes])

        def solve(queries: Tensor) -> _Mixture:
            features = written[:, queries].flatten(1)
            chosen, weights = _greedy(features, target[queries].flatten(), sizes, parts)
            return _Mixture(chosen, weights, written, target)

        return solve


@dataclass(frozen=True)
class _Mixture:
    chosen: list[int]
    weights: list[float]
    written: Tensor
    target: Tensor

    def error_on(self, queries: Tensor) -> float:
        weights = torch.tensor(self.weights)
        parts = self.written[self.chosen][:, queries]
        return float((torch.tensordot(weights, parts, 1) - self.target[queries]).square().sum())


_Solver = Callable[[Tensor], _Mixture]


def _mixture(nodes: Sequence[Node], mixture: _Mixture) -> Node:
    percent = [max(1, min(limits.MAX_NUMBER, round(100 * w))) for w in mixture.weights]
    parts = zip(percent, mixture.chosen, strict=True)
    return Node("mixture", *(Node("part", weight, nodes[k]) for weight, k in parts))


def _written(shares: Tensor, values: Tensor) -> Tensor:
    """[text, term, query, size] of [text, term, query, key] and [text, key, size]."""
    texts, terms, n, _ = shares.shape
    return (shares.reshape(texts, terms * n, n) @ values).view(texts, terms, n, values.shape[-1])


def _greedy(
    features: Tensor, target: Tensor, sizes: Tensor, most: int
) -> tuple[list[int], list[float]]:
    """Which rows of `features` [term, element] to mix, and with what weights, which sum to 1.

    `sizes` [term] are nodes.
    """
    with_target = features @ target
    norms = features.square().sum(1)
    whole = float(target.square().sum())
    price = PLAINNESS * whole * sizes
    chosen = [int((norms - 2 * with_target + price).argmin())]
    weights = torch.ones(1)
    tried = set(chosen)
    while len(chosen) < most:
        mixed = weights @ features[chosen]
        with_mixed, squared = features @ mixed, mixed.square().sum()
        downhill = with_target - with_mixed - mixed @ target + squared
        steepness = (norms - 2 * with_mixed + squared).clamp_min(1e-12)
        step = (downhill / steepness).clamp(0, 1)
        gains = step * (2 * downhill - step * steepness) - price
        best = int(gains.argmax())
        # What was tried and dropped would be dropped again, for ever.
        if best in tried or float(gains[best]) < WORTH * whole:
            break
        tried.add(best)
        chosen.append(best)
        chosen, weights = _on_simplex(chosen, features, with_target)
    return chosen, weights.tolist()


def _on_simplex(
    chosen: list[int], features: Tensor, with_target: Tensor
) -> tuple[list[int], Tensor]:
    """Least squares with weights that sum to 1; what would be negative goes, the worst first."""
    while True:
        k = len(chosen)
        system = torch.ones(k + 1, k + 1)
        system[:k, :k] = features[chosen] @ features[chosen].T + 1e-6 * torch.eye(k)
        system[k, k] = 0
        weights = torch.linalg.solve(system, torch.cat([with_target[chosen], torch.ones(1)]))[:k]
        if k == 1 or float(weights.min()) >= 0.005:
            return chosen, weights
        worst = int(weights.argmin())
        chosen = chosen[:worst] + chosen[worst + 1 :]
