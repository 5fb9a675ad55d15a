"""Hypothesis strategies: random programs from the declarations, random token facts."""

from hypothesis import strategies as st

from grammar import limits
from grammar.primitives import PRIMITIVES, Kind, Parameter, Primitive
from grammar.token_facts import UNIVERSAL_POS, Token
from grammar.tree import Node

WORDS = ("the", "a", "dog", "lily", "é", "猫", "don't")
NUMBERS = st.integers(1, 6) | st.integers(1, limits.MAX_NUMBER)


def _arguments(draw: st.DrawFn, primitive: Primitive, depth: int) -> list[Node | str | int]:
    arguments: list[Node | str | int] = []
    for parameter in primitive.parameters:
        if parameter is Parameter.NUMBER:
            arguments.append(draw(NUMBERS))
        elif parameter is Parameter.WORD:
            arguments.append(draw(st.sampled_from(WORDS)))
        else:
            arguments.append(draw(predicates(depth)))
    return arguments


def _named(kinds: tuple[Kind, ...]) -> st.SearchStrategy[Primitive]:
    return st.sampled_from([p for p in PRIMITIVES.values() if p.kind in kinds])


@st.composite
def predicates(
    draw: st.DrawFn,
    depth: int = limits.MAX_NESTING,
    kinds: tuple[Kind, ...] = (Kind.TOKEN_CLASS, Kind.RELATION),
) -> Node:
    """A predicate; boolean operands under `and` and `or` use one level of nesting."""
    shapes = ["atom", "atom", "not", *(["and", "or", "after", "before"] if depth else [])]
    shape = draw(st.sampled_from(shapes))
    if shape == "atom":
        primitive = draw(_named(kinds))
        return Node(primitive.name, *_arguments(draw, primitive, depth))
    if shape == "not":
        primitive = draw(_named(kinds))
        return Node("not", Node(primitive.name, *_arguments(draw, primitive, depth)))
    inner = predicates(depth - 1, kinds)
    if shape in ("after", "before"):
        return Node(shape, draw(inner))
    return Node(shape, *draw(st.lists(inner, min_size=2, max_size=limits.MAX_OPERANDS)))


@st.composite
def selections(draw: st.DrawFn) -> Node:
    """A bare predicate, or a selection primitive over one."""
    if draw(st.booleans()):
        return draw(predicates())
    primitive = draw(_named((Kind.SELECTION,)))
    return Node(primitive.name, *_arguments(draw, primitive, limits.MAX_NESTING))


@st.composite
def terms(draw: st.DrawFn) -> Node:
    """A selection or a score."""
    if draw(st.integers(0, 3)):
        return draw(selections())
    logit = st.builds(lambda t, s: Node("logit", t, s), st.integers(-99, 99), selections())
    return Node("score", *draw(st.lists(logit, min_size=1, max_size=3)))


@st.composite
def mixtures(draw: st.DrawFn) -> Node:
    """Up to four weighted parts."""
    part = st.builds(lambda w, t: Node("part", w, t), st.integers(1, 99), terms())
    return Node("mixture", *draw(st.lists(part, min_size=1, max_size=4)))


@st.composite
def programs(draw: st.DrawFn) -> Node:
    """A whole program, as the parser would build it."""
    guard = predicates(kinds=(Kind.TOKEN_CLASS,))
    whens = st.lists(
        st.builds(lambda g, m: Node("when", g, m), guard, mixtures()),
        max_size=draw(st.sampled_from([0, 0, 1, limits.MAX_GUARDS])),
    )
    return Node("program", *draw(whens), draw(mixtures()))


TEXTS = ("the", "The", "dog", ",", ".", "!?", '"', "-", "(", "\n", "\n\n", "7th", "Lily", ":", "x")
ROLES = ("nsubj", "dobj", "pobj", "ROOT", "det", "")


@st.composite
def token_lists(draw: st.DrawFn, max_size: int = 12) -> list[Token]:
    """A text of random facts, more varied than real texts: every primitive can fire."""
    count = draw(st.integers(1, max_size))
    flag = st.booleans()
    index = st.integers(-1, count)
    return [
        Token(
            token_id=draw(st.integers(0, 4)),
            text=draw(st.sampled_from(("", *TEXTS))),
            word=draw(st.sampled_from(("", *WORDS))),
            word_index=draw(index),
            lemma=draw(st.sampled_from(("", *WORDS))),
            pos=draw(st.sampled_from(("", *UNIVERSAL_POS))),
            role=draw(st.sampled_from(ROLES)),
            governor=draw(index),
            sentence=draw(st.integers(-1, 2)),
            sentence_start=draw(flag),
            sentence_end=draw(flag),
            continuation=draw(flag),
            quoted=draw(flag),
            special=draw(flag),
        )
        for _ in range(count)
    ]
