"""What is kept because it may be asked for again, within a bound: the oldest goes first."""

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor

from grammar.tree import Node


class Kept:
    """Tensors by the node that they belong to, as long as all of them fit into `most` bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._bytes = 0
        self._known: OrderedDict[Node, Tensor] = OrderedDict()

    def get(self, node: Node, compute: Callable[[Node], Tensor]) -> Tensor:
        """The tensor of the node, computed unless it is kept."""
        known = self._known.get(node)
        if known is not None:
            self._known.move_to_end(node)
            return known
        value = compute(node)
        self._known[node] = value
        self._bytes += value.nbytes
        while self._bytes > self._most and len(self._known) > 1:
            self._bytes -= self._known.popitem(last=False)[1].nbytes
        return value


class Slots:
    """Numbers below `count` for nodes; where none is free, the oldest node loses its own."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._known: OrderedDict[Node, int] = OrderedDict()

    def find(self, node: Node) -> int | None:
        """The node's number, None where it has none."""
        known = self._known.get(node)
        if known is not None:
            self._known.move_to_end(node)
        return known

    def take(self, node: Node) -> int:
        """A number for a node that has none."""
        full = len(self._known) == self._count
        number = self._known.popitem(last=False)[1] if full else len(self._known)
        self._known[node] = number
        return number
