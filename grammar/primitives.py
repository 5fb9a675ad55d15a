"""Every primitive of the language by its name.

Grammar, parser, prompt vocabulary, reference table, both evaluators and their tests are derived
from `PRIMITIVES`; to add a primitive, declare it in the file of its kind.
"""

from collections.abc import Iterator

from grammar.declaration import Kind, Parameter, Primitive
from grammar.relations import RELATIONS
from grammar.selections import SELECTIONS
from grammar.token_classes import TOKEN_CLASSES

__all__ = ["PRIMITIVES", "Kind", "Parameter", "Primitive", "primitives"]

PRIMITIVES: dict[str, Primitive] = {p.name: p for p in (*TOKEN_CLASSES, *RELATIONS, *SELECTIONS)}


def primitives(kind: Kind) -> Iterator[Primitive]:
    """The primitives of one kind, in the order of their declaration."""
    return (p for p in PRIMITIVES.values() if p.kind is kind)
