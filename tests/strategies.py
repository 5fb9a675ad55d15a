"""Hypothesis strategies: random programs from the declarations, random token facts."""

from hypothesis import assume
from hypothesis import strategies as st

from grammar import limits
from grammar.primitives import PRIMITIVES, Kind, Parameter, Primitive
from grammar.token_facts import UNIVERSAL_POS, Token
from grammar.tree import Node

WORDS = ("the", "The", "a", "dog", "lily", "é", "猫", "don't")
NUMBERS = st.integers(1, 6) | st.integers(1, limits.MAX_NUMBER)


def _arguments(draw: st.DrawFn, primitive: Primitive, depth: int) -> list[Node | str | int]:
    arguments: list[Node | str | int] = []
    for parameter in primitive.parameters:
        if parameter is Parameter.NUMBER:
            arguments.append(draw(NUMBERS))
        elif parameter.is_word:
            arguments.append(parameter.compared(draw(st.sampled_from(WORDS))))
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
    """A predicate as the grammar says it: `or` over `and` over `not`, nested `depth` deep."""
    most = st.sampled_from([1, 1, 1, 1, 2, limits.MAX_OPERANDS])
    alternatives = [
        _joined("and", [draw(_operands(depth, kinds)) for _ in range(draw(most))])
        for _ in range(draw(most))
    ]
    return _joined("or", alternatives)


def _joined(op: str, operands: list[Node]) -> Node:
    return operands[0] if len(operands) == 1 else Node(op, *operands)


@st.composite
def _operands(draw: st.DrawFn, depth: int, kinds: tuple[Kind, ...]) -> Node:
    shapes = ["atom", "atom", "atom", *(["after", "before", "group"] if depth else [])]
    if depth and Kind.RELATION in kinds:
        shapes.append("query")
    shape = draw(st.sampled_from(shapes))
    if shape == "atom":
        primitive = draw(_named(kinds))
        found = Node(primitive.name, *_arguments(draw, primitive, depth))
    elif shape == "query":
        found = Node("query", draw(predicates(depth - 1, (Kind.TOKEN_CLASS,))))
    else:
        found = draw(predicates(depth - 1, kinds))
        found = found if shape == "group" else Node(shape, found)
    return Node("not", found) if draw(st.booleans()) else found


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
    program = Node("program", *draw(whens), draw(mixtures()))
    # Its canonical form, with negations moved inward, is then within the limits too.
    assume(program.size <= limits.MAX_PROGRAM_NODES // 2)
    return program


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
            clause=draw(st.integers(-1, 2)),
            repeated=draw(flag),
            continuation=draw(flag),
            quoted=draw(flag),
            special=draw(flag),
        )
        for _ in range(count)
    ]
