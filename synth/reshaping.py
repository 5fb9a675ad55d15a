"""Reshapes a program: one selection or guard at a time says something else, and no term is added.

What a step changes is small: the weight that one selection gives.  So each of a thousand
changes is tried exactly on a few texts, with the rest of the program as it is; the best few are
fitted on more texts, and the best of those is kept.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from grammar import limits
from grammar.canonical import canonical
from grammar.parser import parse
from grammar.primitives import PRIMITIVES, Kind
from grammar.printer import to_text
from grammar.tree import Node
from interpreter.evaluate import Evaluator
from interpreter.facts import Facts
from synth.fitting import Fitter
from synth.vocabulary import is_selection

WORTH = 0.0007
"""IoU on the growing texts that a change must add: a program that says more is harder to read."""
MOST_STEPS = 10
FITTED = 2
"""Changes whose constants are fitted in each round."""
STEPS = 20

WAYS = (
    *(("near", 2), ("near", 8), ("near", 32), ("newest", 2), ("earliest", 2)),
    *(("first", 1), ("first", 2), ("recent", 1)),
)
"""Ways to select that are tried with the predicate of every term."""


@dataclass(frozen=True)
class _Place:
    """A selection in a program, and what it contributes to the matrix."""

    rule: int
    part: int
    logit: int | None
    """Its place in the part's score; None where the part is the selection itself."""
    selection: Node
    factor: Tensor
    """[text, query, 1]: the part's share on the rows that its rule decides, else 0."""


class Reshaper:
    """Reshapes programs on one set of texts; changes are ranked on the first few of them."""

    def __init__(
        self, fitter: Fitter, ranking: Facts, predicates: list[Node], guards: list[Node]
    ) -> None:
        """`predicates` are what may be joined to a predicate, `guards` what may be asked of the
        query; `ranking` are the facts of the first of the fitter's texts."""
        self._fitter = fitter
        self._facts = ranking
        self._predicates = predicates
        self._guards = guards

    def reshape(self, program: Node, target: Tensor) -> list[Node]:
        """The programs after each step, the given one left out, on `target` [text, query, key]."""
        steps: list[Node] = []
        best = self._fitter.score(program, target)
        few = target[: len(self._facts.real)]
        while len(steps) < MOST_STEPS:
            changed = _valid(self._ranked(program, few), FITTED)
            fitted = [self._fitter.fit_constants(p, target, STEPS) for p in changed]
            scored = [(self._fitter.score(p, target), p) for p in fitted]
            if not scored:
                break
            score, reshaped = max(scored, key=lambda found: found[0])
            if score < best + WORTH:
                break
            program, best = reshaped, score
            steps.append(program)
        return steps

    def _ranked(self, program: Node, target: Tensor) -> list[Node]:
        """The program with each change, the best first, as their overlap with the target says."""
        evaluator = Evaluator(self._facts)
        now = evaluator.matrices(program)
        found = []
        for place in _places(program, evaluator):
            before, contributed = self._contribution(place, program, evaluator)
            rest = now - contributed
            for other in self._others(place.selection):
                added = place.factor * before.with_selection(other)
                overlap = torch.minimum(rest + added, target).sum()
                found.append((float(overlap), _with_selection(program, place, other)))
        for number, rule in enumerate(program.children[:-1]):
            for guard in self._other_guards(rule.children[0]):
                changed = _with_rule(program, number, Node("when", guard, rule.children[1]))
                overlap = torch.minimum(evaluator.matrices(changed), target).sum()
                found.append((float(overlap), changed))
        found.sort(key=lambda pair: -pair[0])
        return [changed for _, changed in found]

    def _contribution(
        self, place: _Place, program: Node, evaluator: Evaluator
    ) -> tuple["_Term", Tensor]:
        part = _mixture(program.children[place.rule]).children[place.part]
        term = _Term(part.children[0], place.logit, evaluator)
        return term, place.factor * term.with_selection(place.selection)

    def _others(self, selection: Node) -> Iterator[Node]:
        """What may stand in the place of a selection."""
        if not is_selection(selection):
            yield from self._other_predicates(selection)
            yield from (Node(way, selection, k) for way, k in WAYS)
            return
        predicate, *numbers = cast(tuple[Node, int], selection.args)
        yield predicate
        for other in self._other_predicates(predicate):
            yield Node(selection.op, other, *numbers)
        for k in numbers:
            for other_k in {max(1, k // 2), min(2 * k, limits.MAX_NUMBER), max(1, k - 1), k + 1}:
                if other_k != k and other_k <= limits.MAX_NUMBER:
                    yield Node(selection.op, predicate, other_k)
        for way, k in WAYS:
            if way != selection.op:
                yield Node(way, predicate, k)

    def _other_predicates(self, predicate: Node) -> Iterator[Node]:
        """The predicate joined with each other one, or less one of its operands."""
        asked = [] if hasattr(self,"_asked_off") else [Node("query", guard) for guard in self._guards]
        if predicate.op == "any":
            yield from asked
            for other in self._predicates:
                yield from (other, Node("not", other))
            return
        for other in self._predicates:
            yield _joined("or", predicate, other)
            yield _joined("and", predicate, other)
            yield _joined("and", predicate, Node("not", other))
        for other in asked:
            yield _joined("and", predicate, other)
        yield from _less_one(predicate)

    def _other_guards(self, guard: Node) -> Iterator[Node]:
        for other in self._guards:
            yield _joined("or", guard, other)
            yield _joined("and", guard, Node("not", other))
        yield from _less_one(guard)


class _Term:
    """A part's selection or score, with another selection in one place."""

    def __init__(self, term: Node, logit: int | None, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._logit = logit
        if logit is not None:
            tenths = [cast(int, child.args[0]) for child in term.children]
            self._tenths = tenths[logit]
            others = [child for k, child in enumerate(term.children) if k != logit]
            self._others = sum(
                (
                    cast(int, child.args[0]) / 10 * evaluator.weights(child.children[0])
                    for child in others
                ),
                torch.zeros_like(evaluator.sink),
            )

    def with_selection(self, selection: Node) -> Tensor:
        """[text, query, key]: the shares that the term gives."""
        if self._logit is None:
            return self._evaluator.fresh_shares(selection)
        weights = [self._others, self._evaluator.weights(selection)]
        return self._evaluator.softmax(torch.tensor([1.0, self._tenths / 10]), weights)


def _valid(programs: Iterable[Node], count: int) -> list[Node]:
    """The first distinct programs that the grammar knows, in canonical form."""
    found: dict[Node, None] = {}
    for program in programs:
        simpler = canonical(program)
        if isinstance(parse(to_text(simpler)), Node):
            found.setdefault(simpler)
        if len(found) == count:
            break
    return list(found)


def _places(program: Node, evaluator: Evaluator) -> Iterator[_Place]:
    undecided = evaluator.facts.at_query(evaluator.facts.real).float()[:, :, None]
    for number, rule in enumerate(program.children):
        rows = undecided
        if rule.op == "when":
            rows = undecided * evaluator.guard(rule.children[0])[:, :, None]
            undecided = undecided - rows
        mixture = _mixture(rule)
        total = sum(cast(int, part.args[0]) for part in mixture.children)
        for position, part in enumerate(mixture.children):
            factor = rows * (cast(int, part.args[0]) / total)
            term = part.children[0]
            if term.op != "score":
                yield _Place(number, position, None, term, factor)
                continue
            for k, logit in enumerate(term.children):
                yield _Place(number, position, k, logit.children[0], factor)


def _mixture(rule: Node) -> Node:
    return rule.children[-1] if rule.op == "when" else rule


def _with_selection(program: Node, place: _Place, selection: Node) -> Node:
    rule = program.children[place.rule]
    parts = list(_mixture(rule).children)
    part = parts[place.part]
    term = selection
    if place.logit is not None:
        logits = list(part.children[0].children)
        logits[place.logit] = Node("logit", logits[place.logit].args[0], selection)
        term = Node("score", *logits)
    parts[place.part] = Node("part", part.args[0], term)
    mixture = Node("mixture", *parts)
    changed = Node("when", rule.children[0], mixture) if rule.op == "when" else mixture
    return _with_rule(program, place.rule, changed)


def _with_rule(program: Node, number: int, rule: Node) -> Node:
    rules = list(program.children)
    rules[number] = rule
    return Node("program", *rules)


def _joined(op: str, predicate: Node, other: Node) -> Node:
    operands = predicate.children if predicate.op == op else (predicate,)
    return Node(op, *operands, other)


def _less_one(predicate: Node) -> Iterator[Node]:
    if predicate.op in ("and", "or"):
        children = predicate.children
        for left_out in range(len(children)):
            kept = [*children[:left_out], *children[left_out + 1 :]]
            yield kept[0] if len(kept) == 1 else Node(predicate.op, *kept)
