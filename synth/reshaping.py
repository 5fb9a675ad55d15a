"""Reshapes a program: one selection or guard at a time says something else, and no term is added.

What a step changes is small: the weight that one selection gives.  So each of a thousand
changes is tried exactly on a few texts, with the rest of the program as it is; the best few are
fitted on more texts, and the best of those is kept.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor

from grammar import limits
from grammar.canonical import canonical
from grammar.parser import parse
from grammar.printer import to_text
from grammar.tree import Node
from interpreter.evaluate import Evaluator
from interpreter.facts import Facts, on_first
from interpreter.trials import Place, Trials
from synth.fitting import Fitter
from synth.structure import mixture_of, with_mixture
from synth.vocabulary import is_selection

WORTH = 0.0007
"""IoU on the growing texts that a change must add: a program that says more is harder to read."""
MOST_STEPS = 20
FITTED = 4
"""Changes whose constants are fitted in each round."""
STEPS = 20

WAYS = (
    *(("near", 2), ("near", 8), ("near", 32), ("newest", 2), ("earliest", 2)),
    *(("first", 1), ("first", 2), ("recent", 1)),
)
"""Ways to select that are tried with the predicate of every term."""


SHORTLIST = 200
"""Changes of a round that are tried again in the next ones, until none of them helps."""


@dataclass(frozen=True)
class _Spot:
    """A selection in a program."""

    rule: int
    part: int
    logit: int | None
    """Its place in the part's score; None where the part is the selection itself."""
    selection: Node
    factor: Tensor
    """[text, query, 1]: the part's share on the rows that its rule decides, else 0."""


Old = tuple[str, Node]
"""What is changed: ("selection", it) or ("guard", it)."""
Shortlist = Mapping[Old, Sequence[Node]]


@dataclass(frozen=True)
class _Change:
    """`new` in the place of `old`."""

    overlap: float
    old: Old
    new: Node
    program: Callable[[], Node]
    """Makes the changed program, which few changes are asked for."""


class Reshaper:
    """Reshapes programs on one set of texts; changes are ranked on the first few of them."""

    def __init__(
        self,
        fitter: Fitter,
        ranking: Facts,
        predicates: list[Node],
        guards: list[Node],
    ) -> None:
        """`predicates` are what may be joined to a predicate, `guards` what may be asked of the
        query; `ranking` are the facts of the first of the fitter's texts.
        """
        self._fitter = fitter
        self._ranking = Evaluator(ranking)
        self._predicates = predicates
        self._guards = guards

    def reshape(self, program: Node, target: Tensor) -> list[Node]:
        """The programs after each step, the given one left out, on `target` [text, query, key]."""
        steps: list[Node] = []
        best = self._fitter.score(program, target)
        few = on_first(target, self._ranking.facts)
        shortlist: Shortlist = {}
        while len(steps) < MOST_STEPS:
            ranked = self._ranked(program, few, shortlist)
            programs = (change.program() for change in ranked)
            changed = _valid(programs, FITTED)
            fitted = [self._fitter.fit_constants(p, target, STEPS) for p in changed]
            scored = [(self._fitter.score(p, target), p) for p in fitted]
            score, reshaped = max(scored, key=lambda found: found[0], default=(best, program))
            if score >= best + WORTH:
                program, best = reshaped, score
                steps.append(program)
                shortlist = shortlist or _shortlist(ranked)
            elif shortlist:
                shortlist = {}
            else:
                break
        return steps

    def _ranked(self, program: Node, target: Tensor, shortlist: Shortlist) -> list[_Change]:
        """Each change, the best first, as its overlap with the target says.

        Of what `shortlist` holds, only what it names is tried.
        """
        evaluator = self._ranking
        now = evaluator.matrices(program)
        found = []
        for spot in _spots(program, evaluator):
            trials = Trials(evaluator, _place(program, spot, evaluator, now), target)
            old = ("selection", spot.selection)
            for other in shortlist[old] if old in shortlist else self._others(spot.selection):
                changed = partial(_with_selection, program, spot, other)
                found.append(_Change(trials.overlap(other), old, other, changed))
        overlaps = _overlaps_by_rule(program, evaluator, target)
        guards = [rule.children[0] for rule in program.children[:-1]]
        for number, guard in enumerate(guards):
            old = ("guard", guard)
            for other in shortlist[old] if old in shortlist else self._other_guards(guard):
                others = [*guards[:number], other, *guards[number + 1 :]]
                overlap = _overlap_with_guards(others, evaluator, overlaps)
                rule = Node("when", other, program.children[number].children[1])
                changed = partial(_with_rule, program, number, rule)
                found.append(_Change(overlap, old, other, changed))
        return sorted(found, key=lambda change: -change.overlap)

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
            near = {max(1, k // 2), max(1, k - 1), k + 1, 2 * k} - {k}
            for other_k in sorted(n for n in near if n <= limits.MAX_NUMBER):
                yield Node(selection.op, predicate, other_k)
        for way, k in WAYS:
            if way != selection.op:
                yield Node(way, predicate, k)

    def _other_predicates(self, predicate: Node) -> Iterator[Node]:
        """The predicate joined with each other one, or less one of its operands."""
        asked = [Node("query", guard) for guard in self._guards]
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


def _place(program: Node, spot: _Spot, evaluator: Evaluator, now: Tensor) -> Place:
    """What stays of the program's matrix `now` when the selection goes."""
    part = mixture_of(program.children[spot.rule]).children[spot.part]
    term = part.children[0]
    rest = now - spot.factor * evaluator.shares(term)
    if spot.logit is None:
        return Place(rest, spot.factor)
    total = torch.zeros_like(evaluator.sink)
    for k, logit in enumerate(term.children):
        if k != spot.logit:
            total += cast(int, logit.args[0]) / 10 * evaluator.weights(logit.children[0])
    # Whatever the place holds multiplies these; no logit is large enough to overflow them.
    visible = evaluator.facts.visible
    # Rows of padding see nothing.
    most = total.masked_fill(~visible, -torch.inf).amax(-1, keepdim=True).nan_to_num(neginf=0.0)
    strength = cast(int, term.children[spot.logit].args[0]) / 10
    return Place(rest, spot.factor, (total - most).exp() * visible, strength)


def _overlaps_by_rule(program: Node, evaluator: Evaluator, target: Tensor) -> Tensor:
    """[rule, text, query]: the overlap of each row with the target, were that rule to decide."""
    mixtures = [Node("program", mixture_of(rule)) for rule in program.children]
    rows = [torch.minimum(evaluator.matrices(m), target).sum(-1) for m in mixtures]
    return torch.stack(rows)


def _overlap_with_guards(guards: Sequence[Node], evaluator: Evaluator, overlaps: Tensor) -> float:
    """The overlap with the target, were the rules to have these guards."""
    decided = overlaps[-1]
    for guard, overlap in zip(reversed(guards), overlaps[:-1].flip(0), strict=True):
        decided = torch.where(evaluator.guard(guard), overlap, decided)
    return float(decided.sum())


def _shortlist(ranked: Sequence[_Change]) -> Shortlist:
    """The best changes, by what they change; everything else that was tried is left out."""
    found: dict[Old, list[Node]] = {change.old: [] for change in ranked}
    for change in ranked[:SHORTLIST]:
        found[change.old].append(change.new)
    return found


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


def _spots(program: Node, evaluator: Evaluator) -> Iterator[_Spot]:
    """Where a selection stands."""
    undecided = evaluator.facts.at_query(evaluator.facts.real).float()[:, :, None]
    for number, rule in enumerate(program.children):
        rows = undecided
        if rule.op == "when":
            rows = undecided * evaluator.guard(rule.children[0])[:, :, None]
            undecided = undecided - rows
        mixture = mixture_of(rule)
        total = sum(cast(int, part.args[0]) for part in mixture.children)
        for position, part in enumerate(mixture.children):
            factor = rows * (cast(int, part.args[0]) / total)
            term = part.children[0]
            if term.op != "score":
                yield _Spot(number, position, None, term, factor)
                continue
            for k, logit in enumerate(term.children):
                yield _Spot(number, position, k, logit.children[0], factor)


def _with_selection(program: Node, spot: _Spot, selection: Node) -> Node:
    rule = program.children[spot.rule]
    parts = list(mixture_of(rule).children)
    part = parts[spot.part]
    term = selection
    if spot.logit is not None:
        logits = list(part.children[0].children)
        logits[spot.logit] = Node("logit", logits[spot.logit].args[0], selection)
        term = Node("score", *logits)
    parts[spot.part] = Node("part", part.args[0], term)
    return _with_rule(program, spot.rule, with_mixture(rule, Node("mixture", *parts)))


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
