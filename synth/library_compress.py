"""Common sub-mixtures named once, so that many programs read like a chapter.

Description length is counted in symbols: a node of a tree is one, a number or a word one more.
A definition is a set of terms whose weights (or logits) are left open: `D1(a, b)` stands for
`a first + b back(1)`.  It costs a symbol for its name and those of its terms; each use costs a
symbol and one for each weight.  Greedily, the set of terms that saves most is named until none
saves anything, as Stitch does for functions (Bowers et al., arXiv 2211.16605).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import cast

from grammar.printer import to_text
from grammar.tree import Node

MOST_TERMS = 4
"""Terms of one definition."""

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


def symbols(tree: Node) -> int:
    """The nodes of a tree, and the numbers and words in them."""
    return sum(1 + sum(not isinstance(a, Node) for a in node.args) for node in tree.walk())


def compress(programs: Sequence[Node]) -> Compressed:
    """Names what the programs have in common; nothing is lost."""
    sums = [
        {node: _sum(node) for node in program.walk() if _can_be_shared(node)}
        for program in programs
    ]
    everything = [part for program in sums for part in program.values()]
    definitions: list[Definition] = []
    before = sum(map(symbols, programs))
    after = before
    while best := _best(everything):
        terms, saving = best
        name = f"D{len(definitions) + 1}"
        holders = [part for part in everything if all(term in part.left for term in terms)]
        for part in holders:
            part.uses.append((name, tuple(part.left.pop(term) for term in terms)))
        definitions.append(Definition(name, terms, len(holders)))
        after -= saving
    texts = [_text(program, parts) for program, parts in zip(programs, sums, strict=True)]
    return Compressed(definitions, texts, before, after, sums)


def _can_be_shared(node: Node) -> bool:
    """A mixture or score whose terms all differ; a weight over the largest has its term twice."""
    if node.op not in ("mixture", "score"):
        return False
    terms = [child.args[1] for child in node.children]
    return len(set(terms)) == len(terms)


def _sum(node: Node) -> _Sum:
    weighted = (cast(tuple[int, Node], child.args) for child in node.children)
    return _Sum({term: weight for weight, term in weighted})


def _best(sums: Iterable[_Sum]) -> tuple[tuple[Node, ...], int] | None:
    """The set of terms that saves most, and what it saves; the first in its text of equals."""
    counts: Counter[tuple[Node, ...]] = Counter()
    for part in sums:
        # A score inside a mixture is shared by its own terms.
        terms = sorted((term for term in part.left if term.op != "score"), key=to_text)
        for size in range(1, MOST_TERMS + 1):
            counts.update(combinations(terms, size))
    savings = {
        terms: uses * (cost + len(terms) - 1) - 1 - cost
        for terms, uses in counts.items()
        if uses > 1 and (cost := sum(map(symbols, terms)))
    }
    if not savings:
        return None
    best = min(savings, key=lambda terms: (-savings[terms], [to_text(term) for term in terms]))
    return (best, savings[best]) if savings[best] > 0 else None


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
            return f"score({' + '.join([*uses, *left])})"
    return to_text(node)


def _logit(tenths: int) -> str:
    return f"{tenths / 10:.1f}"
