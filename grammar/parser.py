"""Text to tree: Lark's LALR parser over the one grammar file, and nothing else."""

from functools import cache
from typing import Any, cast

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from grammar import limits
from grammar.errors import InputError
from grammar.grammar_file import PATH
from grammar.primitives import PRIMITIVES, Parameter
from grammar.rejection import Rejection, located, printable
from grammar.tree import Node


def _nodes(children: list[Any]) -> list[Node]:
    return [child for child in children if isinstance(child, Node)]


class _Build(Transformer[Token, Node]):
    """Makes nodes while Lark parses; chained lists grow from their right end."""

    def primitive(self, children: list[Any]) -> Node:
        name = str(children[0]).removesuffix("(")
        arguments: list[Node | str | int] = []
        for child in children[1:]:
            if isinstance(child, Node):
                arguments.append(child)
            elif child.type == "NUMBER":
                arguments.append(int(child))
            elif child.type == "WORD":
                arguments.append(_word(name, child[1:-1]))
        return with_defaults(name, arguments)

    def _chained(self, op: str, children: list[Any]) -> Node:
        first, rest = _nodes(children)
        return Node(op, first, *(rest.args if rest.op == op else (rest,)))

    def disjunction(self, children: list[Any]) -> Node:
        return self._chained("or", children)

    def conjunction(self, children: list[Any]) -> Node:
        return self._chained("and", children)

    def negation(self, children: list[Any]) -> Node:
        return Node("not", *_nodes(children))

    def wrapped(self, children: list[Any]) -> Node:
        return Node(str(children[0]).removesuffix("("), *_nodes(children))

    def group(self, children: list[Any]) -> Node:
        return Node("group", *_nodes(children))

    def logit(self, children: list[Any]) -> Node:
        tenths = int(str(children[0]).replace(".", ""))
        return Node("logit", tenths, *_nodes(children))

    def _signed(self, minus: bool, logit: Node) -> Node:
        tenths, selection = cast(tuple[int, Node], logit.args)
        return Node("logit", -tenths if minus else tenths, selection)

    def signed(self, children: list[Any]) -> Node:
        return Node("logits", self._signed(children[0] == " - ", children[1]))

    def logits(self, children: list[Any]) -> Node:
        minus = children[0] == "-"
        first, *rest = _nodes(children)
        if first.op == "logit":
            first = Node("logits", self._signed(minus, first))
        return Node("logits", *first.args, *(a for r in rest for a in r.args))

    def score(self, children: list[Any]) -> Node:
        return Node("score", *_nodes(children)[0].args)

    def part(self, children: list[Any]) -> Node:
        return Node("part", int(children[0]), *_nodes(children))

    def parts(self, children: list[Any]) -> Node:
        return self._chained("parts", children)

    def mixture(self, children: list[Any]) -> Node:
        (inner,) = children
        if inner.op == "parts":
            return Node("mixture", *inner.args)
        return Node("mixture", inner if inner.op == "part" else Node("part", 1, inner))

    def when(self, children: list[Any]) -> Node:
        return Node("when", *_nodes(children))

    def rules(self, children: list[Any]) -> Node:
        return self._chained("rules", children)

    def start(self, children: list[Any]) -> Node:
        nodes = _nodes(children)
        last = nodes[-1]
        tail = last.args if last.op == "rules" else (last,)
        return Node("program", *nodes[:-1], *tail)


def _word(name: str, written: str) -> str:
    """A word as this primitive compares it."""
    (parameter,) = (p for p in PRIMITIVES[name].parameters if p.is_word)
    return parameter.compared(written)


def with_defaults(name: str, arguments: list[Node | str | int]) -> Node:
    """The primitive's node, arguments that were left out filled in."""
    primitive = PRIMITIVES[name]
    missing = len(primitive.parameters) - len(arguments)
    defaults = primitive.defaults[len(primitive.defaults) - missing :] if missing else ()
    kinds = primitive.parameters[len(arguments) :]
    filled = [
        Node(str(value)) if kind is Parameter.PREDICATE else value
        for value, kind in zip(defaults, kinds, strict=True)
    ]
    return Node(name, *arguments, *filled)


def _ungrouped(node: Node) -> Node:
    """The tree without the marks of its parentheses."""
    if node.op == "group":
        return _ungrouped(node.children[0])
    return Node(node.op, *(_ungrouped(a) if isinstance(a, Node) else a for a in node.args))


DESCRIBED = {
    "NUMBER": "a number 1-99",
    "LOGIT": "a logit such as 2.5",
    "WORD": '"a word"',
    "$END": "the end",
}
"""Terminals that are not one text."""


@cache
def _lark() -> Lark:
    return Lark(
        PATH.read_text(encoding="utf-8"),
        parser="lalr",
        keep_all_tokens=True,
        transformer=_Build(),
    )


@cache
def _shown() -> dict[str, str]:
    """How each terminal is named to people."""
    shown = {t.name: str(t.pattern.value) for t in _lark().terminals}
    return shown | DESCRIBED


def _expected(error: UnexpectedInput) -> tuple[str, ...]:
    names: set[str] = set()
    if isinstance(error, UnexpectedToken):
        names = set(error.accepts or error.expected)
    elif isinstance(error, UnexpectedCharacters):
        names = set(error.allowed or ())
    return _named(frozenset(names))


@cache
def _named(terminals: frozenset[str]) -> tuple[str, ...]:
    """How these terminals are named, in order; as many sets of them as the parser has states."""
    return tuple(sorted(_shown()[name] for name in terminals))


def _syntax(text: str, error: UnexpectedInput) -> Rejection:
    offset = error.pos_in_stream
    if offset is None or offset < 0 or offset >= len(text) or _token_type(error) == "$END":
        return located(
            "incomplete", "the program ends too early", text, len(text), _expected(error)
        )
    expected = _expected(error)
    found = printable(text[offset : offset + 20])
    listed = ", ".join(map(_quoted, expected[:6])) + (", ..." if len(expected) > 6 else "")
    rejection = located("syntax", f"found `{found}`, expected {listed}", text, offset, expected)
    if "did you mean" in rejection.hint:
        return located("unknown_name", f"no such word here: `{found}`", text, offset, expected)
    return rejection


def _quoted(expected: str) -> str:
    """What stands there as it is between backticks, a description without."""
    return expected if expected in DESCRIBED.values() else f"`{expected}`"


def _token_type(error: UnexpectedInput) -> str:
    return str(error.token.type) if isinstance(error, UnexpectedToken) else ""


def parse(text: str) -> Node | Rejection:
    """The tree of one program as it was written, or why it was rejected; never raises."""
    if not text.strip():
        return located("empty", "there is no program here", text, 0)
    if len(text) > limits.MAX_PROGRAM_CHARACTERS:
        return located(
            "too_long",
            f"{len(text)} characters; a program has at most {limits.MAX_PROGRAM_CHARACTERS}",
            text,
            limits.MAX_PROGRAM_CHARACTERS,
        )
    try:
        tree = _ungrouped(cast(Node, _lark().parse(text)))
    except UnexpectedInput as error:
        return _syntax(text, error)
    if tree.size > limits.MAX_PROGRAM_NODES:
        message = f"{tree.size} nodes; a program has at most {limits.MAX_PROGRAM_NODES}"
        return located("too_large", message, text, 0)
    return tree


def parse_or_raise(text: str) -> Node:
    """The tree of a program that is expected to be right; InputError where it is not."""
    tree = parse(text)
    if isinstance(tree, Rejection):
        reason, *_ = tree.render(text).split("\n")
        raise InputError(f"not a program: {reason}")
    return tree
