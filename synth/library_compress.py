"""Common sub-mixtures named once, so that many programs read like a chapter.

Description length is counted in symbols, the words and numbers that a reader reads.  A definition
is a set of terms whose weights (or logits) are left open: `D1(a, b)` stands for
`a first + b back(1)`.  It costs a symbol for its name and those of its terms; each use costs a
symbol and one for each weight.  Greedily, the set of terms that saves most is named until none
saves anything, as Stitch does for functions (Bowers et al., arXiv 2211.16605).
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heapify, heapreplace
from itertools import combinations
from typing import cast

from grammar.printer import to_text
from grammar.tree import Node

FEWEST_TERMS, MOST_TERMS = 2, 4
"""Terms of one definition: a name for a single one would be shorter, and tell less."""

SYMBOL = re.compile(r'"[^"]*"|[\w.]+')

Use = tuple[str, tuple[int, ...]]
"""A definition's name and the weights of its terms, in their order."""


@dataclass(frozen=True)
class Definition:
    """A named set of terms, in the order in which uses give their weights."""

    name: str
    terms: tuple[Node, ...]
    uses: int


@dataclass
class _Sum:
    """A mixture or a score: what is left of it, and the definitions that stand for the rest."""

    left: dict[Node, int]
    uses: list[Use] = field(default_factory=list)


@dataclass(frozen=True)
class Compressed:
    """Programs with their definitions; `texts` are in the order of the programs."""

    definitions: list[Definition]
    texts: list[str]
    symbols_before: int
    symbols_after: int
    sums: list[dict[Node, _Sum]]


def symbols(text: str) -> int:
    """The words, numbers and words in quotes of a text."""
    return len(SYMBOL.findall(text))


def compress(programs: Sequence[Node]) -> Compressed:
    """Names what the programs have in common; nothing is lost."""
    sums = [
        {node: _sum(node) for node in program.walk() if _can_be_shared(node)}
        for program in programs
    ]
    everything = [part for program in sums for part in program.values()]
    shared = _Shared(everything)
    definitions: list[Definition] = []
    before = sum(symbols(to_text(program)) for program in programs)
    after = before
    while best := shared.best():
        terms, saving = best
        name = f"D{len(definitions) + 1}"
        holders = [part for part in everything if all(term in part.left for term in terms)]
        for part in holders:
            shared.count(part, -1)
            part.uses.append((name, tuple(part.left.pop(term) for term in terms)))
            shared.count(part, 1)
        definitions.append(Definition(name, terms, len(holders)))
        after -= saving
    texts = [_text(program, parts) for program, parts in zip(programs, sums, strict=True)]
    return Compressed(definitions, texts, before, after, sums)


class _Shared:
    """How many sums hold each set of terms, and which set saves most.

    A term is known by its place in the order of texts.  Counts only fall as terms are named, so
    the set that is first by an old saving is the best one if that is still its saving.
    """

    def __init__(self, sums: Sequence[_Sum]) -> None:
        self._terms = sorted({term for part in sums for term in part.left}, key=to_text)
        self._places = {term: place for place, term in enumerate(self._terms)}
        self._symbols = [symbols(to_text(term)) for term in self._terms]
        self._uses: Counter[tuple[int, ...]] = Counter()
        for part in sums:
            self.count(part, 1)
        self._queue = [(-self._saving(places), places) for places in self._uses]
        heapify(self._queue)

    def count(self, part: _Sum, by: int) -> None:
        """Adds `by` to the count of every set of terms that is left in the sum."""
        # A score inside a mixture is shared by its own terms.
        places = sorted(self._places[term] for term in part.left if term.op != "score")
        for size in range(FEWEST_TERMS, MOST_TERMS + 1):
            for chosen in combinations(places, size):
                self._uses[chosen] += by

    def best(self) -> tuple[tuple[Node, ...], int] | None:
        """The set of terms that saves most, and what it saves; the first in its text of equals."""
        while self._queue and self._queue[0][0] < 0:
            _, places = self._queue[0]
            saving = self._saving(places)
            if heapreplace(self._queue, (-saving, places))[0] == -saving:
                return tuple(self._terms[place] for place in places), saving
        return None

    def _saving(self, places: tuple[int, ...]) -> int:
        cost = sum(self._symbols[place] for place in places)
        uses = self._uses[places]
        return uses * (cost - 1) - 1 - cost


def _can_be_shared(node: Node) -> bool:
    """A mixture or score whose terms all differ; a weight over the largest has its term twice."""
    if node.op not in ("mixture", "score"):
        return False
    terms = [child.args[1] for child in node.children]
    return len(set(terms)) == len(terms)


def _sum(node: Node) -> _Sum:
    weighted = (cast(tuple[int, Node], child.args) for child in node.children)
    return _Sum({term: weight for weight, term in weighted})


def _text(node: Node, sums: dict[Node, _Sum]) -> str:
    """The text of a program, a rule, a mixture or a term, with definitions in it."""
    match node.op:
        case "program":
            return "; ".join(_text(rule, sums) for rule in node.children)
        case "when":
            return f"when {to_text(node.children[0])}: {_text(node.children[1], sums)}"
        case "mixture" if node in sums:
            part = sums[node]
            uses = [f"{name}({', '.join(map(str, w))})" for name, w in part.uses]
            left = [f"{weight} {_text(term, sums)}" for term, weight in part.left.items()]
            if not uses and len(left) == 1:
                return _text(next(iter(part.left)), sums)
            return " + ".join([*uses, *left])
        case "score" if node in sums:
            part = sums[node]
            uses = [f"{name}({', '.join(map(_logit, w))})" for name, w in part.uses]
            left = [f"{_logit(weight)} {to_text(term)}" for term, weight in part.left.items()]
            # A sum of logits has signs, as the language writes it.
            return f"score({' + '.join([*uses, *left]).replace(' + -', ' - ')})"
    return to_text(node)


def _logit(tenths: int) -> str:
    return f"{tenths / 10:.1f}"
