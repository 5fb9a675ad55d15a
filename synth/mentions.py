"""Which programs hold a part: "who uses first(word("the"))?" """

from collections.abc import Callable

from grammar.canonical import canonical
from grammar.errors import InputError
from grammar.parser import parse
from grammar.primitives import PRIMITIVES
from grammar.rejection import Rejection
from grammar.tree import CONNECTIVES, Node


def mentions(query: str) -> Callable[[Node], bool]:
    """Whether a program holds a part: a selection, a predicate, or any use of a primitive.

    Raises InputError where the query is none of these.
    """
    if query in PRIMITIVES or query in CONNECTIVES:
        return lambda tree: any(node.op == query for node in tree.walk())
    parsed = parse(query)
    wanted = None if isinstance(parsed, Rejection) else _only_term(canonical(parsed))
    if wanted is None:
        raise InputError(
            f"{query!r:.60} is no primitive, selection or predicate of the language: "
            'write one as in `first(word("the"))`, or search with --text'
        )
    return lambda tree: any(node is wanted for node in tree.walk())


def _only_term(program: Node) -> Node | None:
    parts = program.children[-1].children
    return parts[0].children[0] if len(program.children) == len(parts) == 1 else None
