"""Random programs, texts and token facts from a seed: what fuzzing at length needs is speed.

`tests.strategies` draws the same things with hypothesis, which shrinks what it finds.
"""

from collections.abc import Callable
from random import Random

from grammar import limits
from grammar.primitives import PRIMITIVES, Kind, Parameter, Primitive
from grammar.token_facts import UNIVERSAL_POS, Token
from grammar.tree import Node
from tests.strategies import ROLES, TEXTS, WORDS

CLASSES = [p for p in PRIMITIVES.values() if p.kind is Kind.TOKEN_CLASS]
RELATIONS = [p for p in PRIMITIVES.values() if p.kind is Kind.RELATION]
SELECTIONS = [p for p in PRIMITIVES.values() if p.kind is Kind.SELECTION]

Kinds = tuple[list[Primitive], ...]


def _few(rng: Random, most: int, least: int = 1) -> int:
    """`least` to `most`, small numbers more often."""
    return min(most, least + int(rng.expovariate(0.8)))


def _number(rng: Random) -> int:
    return rng.randint(1, rng.choice((3, 6, limits.MAX_NUMBER)))


def _primitive(rng: Random, primitive: Primitive, depth: int) -> Node:
    arguments: list[Node | str | int] = []
    for parameter in primitive.parameters:
        if parameter is Parameter.NUMBER:
            arguments.append(_number(rng))
        elif parameter.is_word:
            arguments.append(parameter.compared(rng.choice(WORDS)))
        else:
            arguments.append(random_predicate(rng, depth))
    return Node(primitive.name, *arguments)


def random_predicate(
    rng: Random, depth: int = limits.MAX_NESTING, kinds: Kinds = (CLASSES, RELATIONS)
) -> Node:
    """A predicate as the grammar says it: `or` over `and` over `not`, nested `depth` deep."""
    return _joined(rng, "or", lambda: _joined(rng, "and", lambda: _operand(rng, depth, kinds)))


def _joined(rng: Random, op: str, operand: Callable[[], Node]) -> Node:
    count = rng.randint(2, limits.MAX_OPERANDS) if rng.random() < 0.15 else 1
    operands = [operand() for _ in range(count)]
    return operands[0] if count == 1 else Node(op, *operands)


def _operand(rng: Random, depth: int, kinds: Kinds) -> Node:
    chance = rng.random()
    if not depth or chance < 0.7:
        found = _primitive(rng, rng.choice(rng.choice(kinds)), depth)
    elif chance < 0.75 and RELATIONS in kinds:
        found = Node("query", random_predicate(rng, depth - 1, (CLASSES,)))
    elif chance < 0.85:
        found = Node(rng.choice(("after", "before")), random_predicate(rng, depth - 1, kinds))
    else:
        found = random_predicate(rng, depth - 1, kinds)
    return Node("not", found) if rng.random() < 0.25 else found


def _selection(rng: Random) -> Node:
    if rng.random() < 0.4:
        return random_predicate(rng)
    return _primitive(rng, rng.choice(SELECTIONS), limits.MAX_NESTING)


def _term(rng: Random) -> Node:
    if rng.random() < 0.75:
        return _selection(rng)
    count = _few(rng, limits.MAX_LOGITS)
    logits = (Node("logit", rng.randint(-99, 99), _selection(rng)) for _ in range(count))
    return Node("score", *logits)


def _mixture(rng: Random) -> Node:
    count = _few(rng, limits.MAX_PARTS)
    return Node("mixture", *(Node("part", _number(rng), _term(rng)) for _ in range(count)))


def random_program(rng: Random) -> Node:
    """A whole program, as the parser would build it."""
    guards = _few(rng, limits.MAX_GUARDS, 0)
    rules = (
        Node("when", random_predicate(rng, kinds=(CLASSES,)), _mixture(rng)) for _ in range(guards)
    )
    return Node("program", *rules, _mixture(rng))


def random_tokens(rng: Random, most: int) -> list[Token]:
    """A text of 1 to `most` tokens with random facts: every primitive can fire."""
    count = rng.randint(1, most)

    def flag() -> bool:
        return rng.random() < 0.4

    return [
        Token(
            token_id=rng.randrange(5),
            text=rng.choice(("", *TEXTS)),
            word=rng.choice(("", *WORDS)),
            word_index=rng.randint(-1, count),
            lemma=rng.choice(("", *WORDS)),
            pos=rng.choice(("", *UNIVERSAL_POS)),
            role=rng.choice(ROLES),
            governor=rng.randint(-1, count),
            sentence=rng.randint(-1, 2),
            sentence_start=flag(),
            sentence_end=flag(),
            clause=rng.randint(-1, 2),
            repeated=flag(),
            continuation=flag(),
            quoted=flag(),
            special=flag(),
        )
        for _ in range(count)
    ]


PIECES = (
    *("first", "first(", "noun", "when ", ": ", "; ", " + ", " - ", "-", "score(", ")", "(", ", "),
    *(
        "after(",
        "before(",
        "query(",
        "not ",
        " and ",
        " or ",
        "near(",
        "back(",
        'word("',
        '"',
        "the",
        " ",
    ),
    *("1", "0", "10", "99", "100", "1.0", "2.5", ".", "0.5 ", "12 ", "\n", "\t", "\x00", "\ufeff"),
    *("é", "猫", "\u0131", "\u0130", "\xa0", "\u2028", "\u200b", "\ud800", "\U0001f600", "A", "_"),
)


def mutated(text: str, other: str, rng: Random) -> str:
    """`text` with one to three places deleted, doubled, swapped, replaced, or joined to `other`."""
    for _ in range(_few(rng, 3)):
        i, j = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
        short = min(j, i + rng.randint(1, 4))
        match rng.randrange(8):
            case 0:
                text = text[:i] + text[short:]
            case 1:
                text = text[:i] + rng.choice(PIECES) + text[i:]
            case 2:
                text = text[:i] + rng.choice(PIECES) + text[short:]
            case 3:
                text = text[:short] + text[i:]
            case 4:
                text = text[:i] + text[short:j] + text[i:short] + text[j:]
            case 5:
                text = text[:j]
            case 6:
                text = text[:i] + other[rng.randint(0, len(other)) :]
            case 7:
                text = text[:i] + chr(rng.randrange(0x11_0000)) + text[i:]
    return text
