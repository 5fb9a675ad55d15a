"""Grows a program step by step: the part, logit or guarded rule that helps a head most.

What a small step towards a selection would gain is the product of its shares with the weight that
the program misses, summed over the keys: one pass over the pool ranks every selection for every
guard.  The best few are tried in earnest, their constants fitted, and the best of those is kept.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from grammar import limits
from grammar.canonical import canonical
from grammar.tree import Node
from synth.fitting import Fitter
from synth.library_view import terms
from synth.pool import Pool
from synth.structure import mixture_of, with_mixture

MAX_TERMS = 12
"""Weighted selections and logits of one program: what a person still reads."""
WORTH = 0.0005
"""IoU on the growing texts that a step must add for each term that it adds."""
FULL = 0.05
"""A key that misses this much weight counts fully; one that misses less counts less."""
TRIED_SHARES = (0.05, 0.15, 0.4)
TRIED_LOGITS = (-2.0, -0.7, 0.7, 2.0)
RANKED = 6
"""Selections per rule that are tried with each share."""
FITTED = 5
"""Steps whose constants are fitted in each round."""
STEPS = 20
KEPT_BY_GUARD = 2
"""Heaviest parts of the last rule with which a new guarded rule starts."""


@dataclass(frozen=True)
class _Step:
    """A bigger program, and the overlap per row that it promises before fitting."""

    program: Node
    promise: float


class Grower:
    """Grows programs on one set of texts, from pools of what may be added."""

    def __init__(self, fitter: Fitter, parts: Pool, logits: Pool, guards: list[Node]) -> None:
        self._fitter = fitter
        self._evaluator = fitter.evaluator
        self._parts = parts
        self._logits = logits
        self._rows = float(self._evaluator.facts.real.sum())
        self._guards = guards
        members = [self._evaluator.guard(guard).flatten().float() for guard in guards]
        self._members = torch.stack(members)  # [guard, text * query]

    @classmethod
    def over(
        cls, fitter: Fitter, selections: list[Node], logits: list[Node], guards: list[Node]
    ) -> "Grower":
        """A grower over these, evaluated on the fitter's texts."""
        parts = Pool.of(selections, fitter.evaluator, shares=True)
        return cls(fitter, parts, Pool.of(logits, fitter.evaluator, shares=False), guards)

    def grow(self, program: Node, target: Tensor) -> list[Node]:
        """The programs after each round, the given one left out; each has a step more.

        `target` is [text, query, key] on the growing texts.  Ends when no step is worth its terms.
        """
        grown: list[Node] = []
        best = self._fitter.score(program, target)
        while terms(program) < MAX_TERMS:
            steps = sorted(self._steps(program, target), key=lambda step: -step.promise)
            fitted = [self._fitter.fit_constants(s.program, target, STEPS) for s in steps[:FITTED]]
            scored = [(self._fitter.score(p, target), p) for p in fitted]
            worth = [
                (score - WORTH * (terms(p) - terms(program)), score, p)
                for score, p in scored
                if terms(p) <= MAX_TERMS
            ]
            if not worth:
                break
            net, score, bigger = max(worth, key=lambda found: found[0])
            if net <= best:
                break
            program, best = bigger, score
            grown.append(program)
        return grown

    def _steps(self, program: Node, target: Tensor) -> list[_Step]:
        now = self._evaluator.matrices(program)
        missing = ((target - now) / FULL).clamp(0, 1)
        gains = self._parts.products(missing).flatten(0, 1)
        found: list[_Step] = []
        undecided = self._evaluator.facts.real.flatten().float()
        for number, rule in enumerate(program.children):
            rows = undecided
            if rule.op == "when":
                rows = undecided * self._evaluator.guard(rule.children[0]).flatten()
                undecided = undecided - rows
            found += self._more_parts(program, number, rows, rows @ gains, now, target)
            found += self._more_logits(program, number, rows, missing, now, target)
        found += self._more_rules(program, undecided, gains, now, target)
        return found

    def _tried(
        self, base: Tensor, rows: Tensor, gains: Tensor, target: Tensor, most: int
    ) -> list[tuple[float, Node, float]]:
        """(overlap per row, selection, share) of the best selections mixed into `base`.

        `gains` [selection] is what each catches in these rows of what the program misses.
        """
        chosen = rows.nonzero()[:, 0]
        n = base.shape[-1]
        base, real = base.reshape(-1, n)[chosen], target.reshape(-1, n)[chosen]
        found = []
        for k in gains.topk(min(most, len(gains))).indices.tolist():
            selection = self._parts.nodes[k]
            share = self._evaluator.shares(selection).flatten(0, 1)[chosen]
            overlap, a = max(
                (float(torch.minimum((1 - a) * base + a * share, real).sum()), a)
                for a in TRIED_SHARES
            )
            found.append((overlap / self._rows, selection, a))
        return found

    def _overlap(self, now: Tensor, target: Tensor, rows: Tensor) -> float:
        """Overlap of these rows, per row of the texts."""
        by_row = torch.minimum(now, target).sum(-1).flatten()
        return float((by_row * rows).sum()) / self._rows

    def _more_parts(
        self, program: Node, number: int, rows: Tensor, gains: Tensor, now: Tensor, target: Tensor
    ) -> list[_Step]:
        rule = program.children[number]
        mixture = mixture_of(rule)
        if len(mixture.children) == limits.MAX_PARTS or not rows.any():
            return []
        before = self._overlap(now, target, rows)
        found = []
        for overlap, selection, share in self._tried(now, rows, gains, target, RANKED):
            bigger = _with_part(mixture, selection, share)
            found.append(_Step(_with_mixture(program, number, bigger), overlap - before))
        return found

    def _more_rules(
        self, program: Node, undecided: Tensor, gains: Tensor, now: Tensor, target: Tensor
    ) -> list[_Step]:
        """A guarded rule for some of the rows that the last rule decides."""
        *guarded, last = program.children
        if len(guarded) == limits.MAX_GUARDS or terms(program) + KEPT_BY_GUARD >= MAX_TERMS:
            return []
        heaviest = sorted(last.children, key=lambda part: -cast(int, part.args[0]))
        kept = Node("mixture", *heaviest[:KEPT_BY_GUARD])
        base = self._evaluator.matrices(Node("program", kept))
        found = []
        decided = self._members * undecided
        for guard, rows, caught in zip(self._guards, decided, decided @ gains, strict=True):
            if not rows.any() or torch.equal(rows, undecided):
                continue
            before = self._overlap(now, target, rows)
            ((overlap, selection, share),) = self._tried(base, rows, caught, target, 1)
            rule = Node("when", guard, _with_part(kept, selection, share))
            bigger = Node("program", *guarded, rule, last)
            # The copies cost terms but can be weighed anew, which this trial does not show.
            found.append(_Step(canonical(bigger), overlap - before))
        return sorted(found, key=lambda step: -step.promise)[:1]

    def _more_logits(
        self, program: Node, number: int, rows: Tensor, missing: Tensor, now: Tensor, target: Tensor
    ) -> list[_Step]:
        rule = program.children[number]
        mixture = mixture_of(rule)
        weights = _weights(mixture)
        before = self._overlap(now, target, rows)
        found = []
        for position, part in enumerate(mixture.children):
            score = part.children[0]
            if score.op != "score" or len(score.children) == limits.MAX_LOGITS:
                continue
            share = weights[position] / sum(weights)
            softmax = self._evaluator.shares(score)
            pull = softmax * (missing - (missing * softmax).sum(-1, keepdim=True))
            slopes = rows @ self._logits.products(pull).flatten(0, 1)
            for k in slopes.abs().topk(min(RANKED, len(slopes))).indices.tolist():
                for logit in TRIED_LOGITS:
                    if logit * float(slopes[k]) < 0:
                        continue
                    new = Node("logit", round(10 * logit), self._logits.nodes[k])
                    changed = Node("score", *score.children, new)
                    moved = now + share * (self._evaluator.shares(changed) - softmax)
                    parts = list(mixture.children)
                    parts[position] = Node("part", part.args[0], changed)
                    bigger = _with_mixture(program, number, Node("mixture", *parts))
                    promise = self._overlap(moved, target, rows) - before
                    found.append(_Step(bigger, promise))
        return found


def _weights(mixture: Node) -> list[int]:
    return [cast(int, part.args[0]) for part in mixture.children]


def _with_part(mixture: Node, selection: Node, share: float) -> Node:
    """The mixture with a part that gets `share` of it, in percent."""
    weights = _weights(mixture)
    percent = [max(1, round(100 * (1 - share) * w / sum(weights))) for w in weights]
    nodes = [part.children[0] for part in mixture.children]
    pairs = zip([*percent, round(100 * share)], [*nodes, selection], strict=True)
    return Node("mixture", *(Node("part", weight, node) for weight, node in pairs))


def _with_mixture(program: Node, number: int, mixture: Node) -> Node:
    """The canonical program with another mixture in one of its rules."""
    rules = list(program.children)
    rules[number] = with_mixture(rules[number], mixture)
    return canonical(Node("program", *rules))
