"""What a declaration of a primitive holds.

Three kinds:

* a token class says yes or no about a key token; `scalar(token, *args)`,
  `tensor(facts, *args)` -> [batch, tokens] bool;
* a relation says yes or no about a query i and a key j; `scalar(tokens, i, j, *args)`,
  `tensor(facts, *args)` -> [batch, query, key] bool;
* a selection weighs the keys; `scalar(i, members, *args)` -> {key: weight},
  `tensor(facts, members, *args)` -> [batch, query, key] float32, where `members` are the
  visible keys that the selection's predicate holds for.

The scalar definition is the meaning; the tensor body is its fast form.  Tensor bodies use methods
of tensors alone, so that reading or checking a program needs no torch.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from grammar.token_facts import TensorFacts as Facts


class Kind(StrEnum):
    """What a primitive speaks about."""

    TOKEN_CLASS = "token class"
    RELATION = "relation"
    SELECTION = "selection"


class Parameter(StrEnum):
    """What an argument of a primitive is."""

    NUMBER = "number"
    WORD = "word"
    PREDICATE = "predicate"


@dataclass(frozen=True)
class Primitive:
    """One word of the language.  `cost` counts passes over a [query, key] matrix."""

    name: str
    kind: Kind
    doc: str
    example: str
    scalar: Callable[..., Any]
    tensor: Callable[..., Any]
    parameters: tuple[Parameter, ...] = ()
    defaults: tuple[str | int, ...] = field(default=())
    """Values of the trailing parameters that may be left out."""
    cost: int = 0
    looks_ahead: bool = False
    """Whether it can only choose keys after the query, which a causal model never sees."""

    @property
    def signature(self) -> str:
        """The primitive with its parameters, as the documentation shows it."""
        letters = {Parameter.NUMBER: "k", Parameter.WORD: '"w"', Parameter.PREDICATE: "P"}
        required = len(self.parameters) - len(self.defaults)
        shown = [letters[p] for p in self.parameters]
        shown[required:] = [
            f"{s}={d}" for s, d in zip(shown[required:], self.defaults, strict=True)
        ]
        return f"{self.name}({', '.join(shown)})" if shown else self.name


def offset(facts: "Facts") -> "Tensor":
    """[query, key] int64: how far back the key lies from the query."""
    return facts.position[:, None] - facts.position[None, :]
