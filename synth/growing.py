"""Grows a program part by part from what was proposed for any head.

The pool holds every selection that a proposal used, and its siblings: other selections of the
same predicate.  A proposer that finds the right words need not find the right way to pick them.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from grammar import limits
from grammar.canonical import canonical
from grammar.parser import parse_or_raise
from grammar.primitives import PRIMITIVES, Kind
from grammar.printer import to_text
from grammar.tree import Node
from interpreter.evaluate import Evaluator
from interpreter.scores import iou
from synth.fitting import Fitter

WAYS = (
    *("{p}", "first({p})", "first({p}, 2)", "last({p})", "recent({p})"),
    *("near({p}, 2)", "near({p}, 8)", "near({p}, 32)", "newest({p}, 2)", "earliest({p}, 2)"),
)
SHARES = (0.1, 0.3)
"""Weights with which a new part is tried before all constants are fitted."""

SCREENED_TEXTS = 10
ROUNDS = 4


def predicate_of(term: Node) -> Node | None:
    """The predicate that a selection picks from; None for a score."""
    if term.op == "score":
        return None
    primitive = PRIMITIVES.get(term.op)
    if primitive is not None and primitive.kind is Kind.SELECTION:
        return term.children[0]
    return term


def pool_of(programs: Iterable[Node]) -> list[Node]:
    """Every selection and score of the programs, and the selections' siblings, in fixed order."""
    pool: dict[str, Node] = {}
    for program in programs:
        for part in (node for node in program.walk() if node.op == "part"):
            term = part.children[0]
            pool[to_text(term)] = term
            for logit in term.children if term.op == "score" else ():
                pool[to_text(logit.children[0])] = logit.children[0]
    for term in list(pool.values()):
        predicate = predicate_of(term)
        if predicate is not None:
            for way in WAYS:
                tree = canonical(parse_or_raise(way.format(p=to_text(predicate))))
                sibling = tree.children[0].children[0].children[0]
                pool[to_text(sibling)] = sibling
    return [pool[text] for text in sorted(pool)]


class Grower:
    """Adds the part that helps a head most, fits, and again, on one set of texts."""

    def __init__(self, fitter: Fitter, screening: Evaluator, pool: list[Node]) -> None:
        self._fitter = fitter
        self._screening = screening
        shares = ((term, screening.shares(term)) for term in pool)
        sink = screening.sink
        self._pool = [(term, share) for term, share in shares if not torch.equal(share, sink)]

    def grow(self, program: Node, target: Tensor) -> list[Node]:
        """The programs after each round, the given one left out; each has the best next part.

        Ends when a round adds nothing after fitting and pruning.
        """
        grown = []
        best = self._fitter.score(program, target)
        for _ in range(ROUNDS):
            *guarded, last = program.children
            if len(last.children) == limits.MAX_PARTS:
                break
            bigger = Node("program", *guarded, self._with_best_part(program, target))
            fitted = self._fitter.fit(bigger, target)
            score = self._fitter.score(fitted, target)
            if score <= best:
                break
            program, best = fitted, score
            grown.append(program)
        return grown

    def _with_best_part(self, program: Node, target: Tensor) -> Node:
        """The last mixture with one more part: the one that helps most before fitting."""
        screened = target[: len(self._screening.facts.lengths)]
        width = self._screening.facts.visible.shape[-1]
        screened = screened[:, :width, :width]
        now = self._screening.matrices(program)
        gains = [
            max(float(iou(screened, (1 - a) * now + a * share).mean()) for a in SHARES)
            for _, share in self._pool
        ]
        term = self._pool[max(range(len(gains)), key=gains.__getitem__)][0]
        last = program.children[-1]
        total = sum(int(str(part.args[0])) for part in last.children)
        weight = min(limits.MAX_NUMBER, max(1, round(total * SHARES[0])))
        return Node("mixture", *last.children, Node("part", weight, term))
