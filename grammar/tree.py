"""The one node type: immutable, and one object for each distinct tree.

Operators and their arguments:

    primitive name   its arguments: nodes, words, numbers           noun, back(1), first(noun, 2)
    and, or          two or more predicates
    not              one predicate
    after, before    one predicate, held against the token before / after the key
    query            one predicate of token classes, held against the query
    logit            tenths (int), selection                        2.5 noun
    score            logits: softmax over the visible keys of their sum
    part             weight (int), selection or score               30 first
    mixture          parts: their weighted sum
    when             predicate on the query, mixture
    program          any number of `when`, then a mixture
"""

from collections.abc import Iterator
from weakref import WeakValueDictionary

CONNECTIVES = ("and", "or", "not", "after", "before", "query")


class Node:
    """An operator and its arguments.  Equal trees are the same object, so `is` compares them."""

    __slots__ = ("__weakref__", "args", "op", "size")

    op: str
    args: "tuple[Node | str | int, ...]"
    size: int
    """Nodes in this tree, this one included."""

    def __new__(cls, op: str, *args: "Node | str | int") -> "Node":
        key = (op, *args)
        known = _KNOWN.get(key)
        if known is not None:
            return known
        node = super().__new__(cls)
        object.__setattr__(node, "op", op)
        object.__setattr__(node, "args", args)
        object.__setattr__(node, "size", 1 + sum(a.size for a in args if isinstance(a, Node)))
        _KNOWN[key] = node
        return node

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Node is immutable: cannot set {name}")

    def __repr__(self) -> str:
        return f"Node({', '.join(map(repr, (self.op, *self.args)))})"

    def __reduce__(self) -> "tuple[type[Node], tuple[Node | str | int, ...]]":
        return Node, (self.op, *self.args)

    @property
    def children(self) -> "tuple[Node, ...]":
        """The arguments that are nodes."""
        return tuple(a for a in self.args if isinstance(a, Node))

    def walk(self) -> "Iterator[Node]":
        """This node and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()


_KNOWN: WeakValueDictionary[tuple[object, ...], Node] = WeakValueDictionary()
