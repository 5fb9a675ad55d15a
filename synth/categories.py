"""What kind of head a program describes, by rules on its tree: see docs/library.md."""

from typing import Literal, cast

from grammar.primitives import PRIMITIVES, Kind
from grammar.tree import Node
from synth.structure import mixture_of

Category = Literal[
    "sink", "positional", "lexical", "syntactic", "repetition", "punctuation", "mixed"
]


OF_PRIMITIVES: dict[str, Category] = {
    **dict.fromkeys(("same_token", "same_word", "same_lemma"), "repetition"),
    **dict.fromkeys(("word", "continuation", "same_piece", "capital", "digit"), "lexical"),
    **dict.fromkeys(("punctuation", "stop", "comma", "colon"), "punctuation"),
    **dict.fromkeys(("quote", "dash", "bracket", "newline"), "punctuation"),
    **dict.fromkeys(("any", "self", "back", "ahead", "within"), "positional"),
    "special": "sink",
}
"""What a predicate speaks about; every other one is syntactic."""

STRONGEST: tuple[Category, ...] = (
    *("repetition", "lexical", "punctuation", "syntactic", "sink", "positional"),
)
"""Of several primitives in one predicate the first of these decides."""


def category(program: Node) -> Category:
    """The category that holds over half of the program's weight, or mixed."""
    shares = category_shares(program)
    most = max(shares, key=shares.__getitem__)
    return most if shares[most] > 0.5 else "mixed"


def category_shares(program: Node) -> dict[Category, float]:
    """The share of the weight of each category; rules count alike, they sum to 1."""
    shares: dict[Category, float] = {}
    mixtures = [mixture_of(rule) for rule in program.children]
    for mixture in mixtures:
        weights = [cast(int, part.args[0]) for part in mixture.children]
        for weight, part in zip(weights, mixture.children, strict=True):
            for name, share in _term(part.children[0]).items():
                part_of_all = weight / sum(weights) * share / len(mixtures)
                shares[name] = shares.get(name, 0.0) + part_of_all
    return shares


def _term(term: Node) -> dict[Category, float]:
    """A score divides its weight among its terms by the size of their logits."""
    if term.op != "score":
        return {_selection(term): 1.0}
    sizes = [abs(cast(int, logit.args[0])) for logit in term.children]
    found: dict[Category, float] = {}
    for size, logit in zip(sizes, term.children, strict=True):
        name = _selection(logit.children[0])
        found[name] = found.get(name, 0.0) + size / sum(sizes)
    return found


def _selection(selection: Node) -> Category:
    if selection is Node("first", Node("any"), 1):
        return "sink"
    kinds = {
        OF_PRIMITIVES.get(name, "syntactic")
        for name in _asserted(selection)
        if PRIMITIVES[name].kind is not Kind.SELECTION
    }
    return next((kind for kind in STRONGEST if kind in kinds), "positional")


def _asserted(node: Node) -> set[str]:
    """The primitives that say what is looked at: neither "not comma" nor "query(comma)" does."""
    if node.op in ("not", "query"):
        return set()
    found = {node.op} if node.op in PRIMITIVES else set()
    return found.union(*map(_asserted, node.children))
