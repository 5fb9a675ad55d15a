"""What evaluating a program costs, known from its tree and the length of the text alone.

The unit is one element operation: a pass over [query, key] costs tokens squared.  The counting
follows `interpreter.evaluate` step by step, and like it counts what is kept and shared once.
"""

from grammar import limits
from grammar.errors import InputError
from grammar.primitives import PRIMITIVES, Kind
from grammar.tree import Node

# Passes of the evaluator's own steps.
_MOVED = {"after": 2, "before": 3, "query": 1}
_TO_WEIGHTS = 2
_VISIBLE_MEMBERS = 1
_NORMALISED = 3
_LOGIT_ADDED = 2
_SOFTMAX = 5
_PART_ADDED = 2
_MIXTURE = 1
_GUARDED = 1
_SINK = 2


def program_cost(program: Node, tokens: int) -> int:
    """An upper bound of the element operations of `Evaluator.matrices` on one text."""
    counter = _Passes()
    *guarded, last = program.children
    passes = _SINK + counter.mixture(last)
    for rule in guarded:
        condition, mixture = rule.children
        passes += _GUARDED + counter.predicate(condition) + counter.mixture(mixture)
    return passes * tokens**2


def check_cost(program: Node, tokens: int) -> None:
    """InputError (too_costly) where the program costs more than limits.MAX_EVALUATION_COST."""
    cost = program_cost(program, tokens)
    if cost > limits.MAX_EVALUATION_COST:
        raise InputError(
            f"too_costly: {cost:,} operations on a text of {tokens:,} tokens, and the limit is "
            f"{limits.MAX_EVALUATION_COST:,}; shorten the program or the text"
        )


class _Passes:
    """Passes over [query, key]; what the evaluator keeps costs nothing the second time."""

    def __init__(self) -> None:
        self._predicates: set[Node] = set()
        self._shares: set[Node] = set()

    def mixture(self, mixture: Node) -> int:
        return _MIXTURE + sum(_PART_ADDED + self.shares(p.children[0]) for p in mixture.children)

    def shares(self, term: Node) -> int:
        if term.op == "score":
            selections = (logit.children[0] for logit in term.children)
            return _SOFTMAX + sum(_LOGIT_ADDED + self.weights(s) for s in selections)
        if term in self._shares:
            return 0
        self._shares.add(term)
        return _NORMALISED + self.weights(term)

    def weights(self, selection: Node) -> int:
        primitive = PRIMITIVES.get(selection.op)
        if primitive is None or primitive.kind is not Kind.SELECTION:
            return _TO_WEIGHTS + self.predicate(selection)
        return _VISIBLE_MEMBERS + primitive.cost + self.predicate(selection.children[0])

    def predicate(self, predicate: Node) -> int:
        if predicate in self._predicates:
            return 0
        self._predicates.add(predicate)
        inner = sum(self.predicate(child) for child in predicate.children)
        match predicate.op:
            case "and" | "or":
                return inner + len(predicate.children) - 1
            case "not":
                return inner + 1
            case "after" | "before" | "query":
                return inner + _MOVED[predicate.op]
        return PRIMITIVES[predicate.op].cost
