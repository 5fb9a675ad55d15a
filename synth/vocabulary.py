"""What programs are grown from: selections and scores over every primitive and frequent words."""

from collections import Counter
from collections.abc import Iterable, Sequence

from grammar.canonical import canonical
from grammar.parser import parse_or_raise
from grammar.primitives import PRIMITIVES, Kind, primitives
from grammar.printer import to_text
from grammar.token_facts import Token
from grammar.tree import Node

WAYS = (
    *("{p}", "first({p})", "first({p}, 2)", "first({p}, 3)", "recent({p})", "recent({p}, 2)"),
    *("last({p})", "near({p}, 2)", "near({p}, 8)", "near({p}, 32)"),
    *("newest({p}, 2)", "earliest({p}, 2)"),
)
"""Every way to select members of a class."""
FEW_WAYS = ("{p}", "first({p})", "recent({p})", "near({p}, 4)", "near({p}, 32)")
"""Ways to select by a relation, or by two predicates at once."""
SCORE = "score(2.0 {p} - 1.0 distance(any))"
"""A first form of scores, whose logits are fitted and added to afterwards."""
FREQUENT_WORDS = 24
JOINED_WORDS = 12


def term(text: str) -> Node:
    """The selection, score or predicate that this program consists of."""
    return canonical(parse_or_raise(text)).children[0].children[0].children[0]


def frequent_words(tokens: Iterable[Sequence[Token]]) -> list[str]:
    """The most frequent words of the texts, those of letters alone."""
    counts = Counter(t.word for document in tokens for t in document if t.word)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return [w for w in ranked if w.isalpha()][:FREQUENT_WORDS]


def classes(tokens: Iterable[Sequence[Token]]) -> list[str]:
    """Every token class without parameters, and every frequent word."""
    plain = [p.name for p in primitives(Kind.TOKEN_CLASS) if not p.parameters]
    return plain + [f'word("{w}")' for w in frequent_words(tokens)]


def relations() -> list[str]:
    """Every relation without parameters."""
    return [p.name for p in primitives(Kind.RELATION) if not p.parameters]


def predicates(tokens: Sequence[Sequence[Token]], *, causal: bool) -> list[Node]:
    """What a logit may speak about, beside fades."""
    plain = [p.name for p in primitives(Kind.TOKEN_CLASS) if not p.parameters]
    texts = [*classes(tokens), *relations(), "within(2)", "within(5)", "within(12)"]
    texts += [f"back({k})" for k in range(1, 9)]
    texts += [f"after({p})" for p in (*plain, *relations())] + [f"before({p})" for p in plain]
    if not causal:
        texts += [f"ahead({k})" for k in range(1, 6)]
    return _distinct(texts)


def logits(tokens: Sequence[Sequence[Token]], *, causal: bool) -> list[Node]:
    """Selections that may stand in a score."""
    texts = ["distance(any)", "first", "first(any, 2)", "near(any, 4)", "near(any, 16)"]
    texts += [f"first({p})" for p in classes(tokens)] + [f"recent({p})" for p in classes(tokens)]
    return _distinct([*texts, *map(to_text, predicates(tokens, causal=causal))])


def selections(tokens: Sequence[Sequence[Token]], *, causal: bool) -> list[Node]:
    """Selections that may be parts of a mixture."""
    plain = [p.name for p in primitives(Kind.TOKEN_CLASS) if not p.parameters]
    texts = ["first(any, 2)", "first(any, 3)", "first(any, 4)", "earliest(any, 2)"]
    texts += [f"near(any, {k})" for k in (1, 2, 4, 8, 16, 32, 64)]
    texts += [f"back({k})" for k in range(1, 9)] + [f"within({k})" for k in (2, 5, 12)]
    texts += [way.format(p=p) for p in classes(tokens) for way in WAYS]
    texts += [way.format(p=p) for p in relations() for way in FEW_WAYS]
    texts += [f"after({p})" for p in (*plain, *relations())] + [f"before({p})" for p in plain]
    texts += [f"recent(after({p}))" for p in (*plain, *relations())]
    texts += [way.format(p=f"{p} and same_sentence") for p in plain for way in FEW_WAYS]
    texts += [f"{p} and not same_sentence" for p in plain]
    if not causal:
        texts += [f"ahead({k})" for k in range(1, 6)]
        texts += [way.format(p=p) for p in plain for way in ("next({p})", "last({p}, 2)")]
    return _distinct(texts)


def scores(tokens: Sequence[Sequence[Token]], *, causal: bool) -> list[Node]:
    """Scores with one predicate and a fade."""
    known = map(to_text, predicates(tokens, causal=causal))
    return _distinct([SCORE.format(p=p) for p in known])


def joinable(tokens: Sequence[Sequence[Token]]) -> list[Node]:
    """What may be joined to a predicate by `and` or `or`."""
    words = [f'word("{w}")' for w in frequent_words(tokens)[:JOINED_WORDS]]
    near = [f"back({k})" for k in (1, 2)]
    return [*plain_classes(), *_distinct([*words, *relations(), *near])]


def plain_classes() -> list[Node]:
    """Every token class without parameters but `any`."""
    names = [p.name for p in primitives(Kind.TOKEN_CLASS) if not p.parameters]
    return [Node(name) for name in names if name != "any"]


def guards() -> list[Node]:
    """Classes of query tokens that may have a mixture of their own."""
    plain = [node.op for node in plain_classes()]
    return _distinct([*plain, *(f"after({p})" for p in plain)])


def _distinct(texts: Iterable[str]) -> list[Node]:
    return sorted({term(text) for text in texts}, key=to_text)


def said(programs: Iterable[Node], ways: Sequence[str] = WAYS) -> list[Node]:
    """The selections and scores of the programs, and the selections' siblings.

    A proposer that finds the right words need not find the right way to pick them.
    """
    found = set()
    for program in programs:
        for part in (node for node in program.walk() if node.op == "part"):
            selection = part.children[0]
            found.add(selection)
            logits = selection.children if selection.op == "score" else ()
            found |= {logit.children[0] for logit in logits}
    texts = {to_text(p) for p in map(predicate_of, found) if p is not None}
    siblings = {term(way.format(p=p)) for p in texts for way in ways}
    return sorted(found | siblings, key=to_text)


def predicate_of(selection: Node) -> Node | None:
    """The predicate that a selection picks from; None for a score."""
    if selection.op == "score":
        return None
    return selection.children[0] if is_selection(selection) else selection


def is_selection(term: Node) -> bool:
    """Whether a way to select stands there, and not a predicate alone or a score."""
    primitive = PRIMITIVES.get(term.op)
    return primitive is not None and primitive.kind is Kind.SELECTION
