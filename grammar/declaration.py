"""What a declaration of a primitive holds.

Three kinds:

* a token class says yes or no about a key token; `scalar(token, *args)`,
  `tensor(facts, *args)` -> [batch, tokens] bool;
* a relation says yes or no about a query i and a key j; `scalar(tokens, i, j, *args)`,
  `tensor(facts, *args)` -> [batch or 1, query, key] bool;
* a selection weighs the keys; `scalar(i, members, *args)` -> {key: weight}, where `members` are
  the visible keys that the selection's predicate holds for; `tensor(facts, members, *args)` ->
  [batch, 1 or query, key] float32, where `members` is [batch, 1 or query, key], with 1 where no
  query matters.  It holds keys past the visible ones too: what a key weighs must not depend on
  those after `facts.newest`, and what is past it is cut off by the evaluator.

The scalar definition is the meaning; the tensor body is its fast form.  Tensor bodies use methods
of tensors alone, so that reading or checking a program needs no torch.

The phrase is plain English, from which `grammar.english` makes sentences:

* of a token class or relation, a noun phrase that marks its plural, "noun(s)" or "cop(y/ies) of
  the query"; one that begins with "token(s)" can narrow any other, "nouns at most 3 away"; one
  that begins with "the" names a single token and has no plural;
* of a selection, the same with its predicate as {one} (singular, no article) or {many} (plural).

{k} is a number in digits; {th} is first, second, ...; {nth} nothing, second-, third-, ...;
{every} is "token", "2 tokens", ...; {each} is "with each", "every 2 of them", ...; {word} a word.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from grammar.words import fold_word

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
    """As it is written: case counts."""
    FOLDED_WORD = "folded word"
    """In lower case."""
    PREDICATE = "predicate"

    @property
    def is_word(self) -> bool:
        """Whether the argument is a word in quotes."""
        return self in (Parameter.WORD, Parameter.FOLDED_WORD)

    def compared(self, word: str) -> str:
        """A word that was written as this argument, in the form in which it is compared."""
        return fold_word(word) if self is Parameter.FOLDED_WORD else word


@dataclass(frozen=True)
class Primitive:
    """One word of the language.  `cost` counts passes over a [query, key] matrix."""

    name: str
    kind: Kind
    doc: str
    phrase: str
    """How a sentence names it: see `grammar.english`."""
    example: str
    scalar: Callable[..., Any]
    tensor: Callable[..., Any]
    parameters: tuple[Parameter, ...] = ()
    defaults: tuple[str | int, ...] = ()
    """Values of the trailing parameters that may be left out."""
    cost: int = 0
    looks_ahead: bool = False
    """Whether it can only choose keys after the query, which a causal model never sees."""

    @property
    def signature(self) -> str:
        """The primitive with its parameters, as the documentation shows it."""
        letters = {
            Parameter.NUMBER: "k",
            Parameter.WORD: '"w"',
            Parameter.FOLDED_WORD: '"w"',
            Parameter.PREDICATE: "P",
        }
        required = len(self.parameters) - len(self.defaults)
        shown = [letters[p] for p in self.parameters]
        shown[required:] = [
            f"{s}={d}" for s, d in zip(shown[required:], self.defaults, strict=True)
        ]
        return f"{self.name}({', '.join(shown)})" if shown else self.name


def offset(facts: "Facts") -> "Tensor":
    """[batch or 1, query, key] int32: how far back the key lies from the query."""
    return facts.query.int()[:, :, None] - facts.position.int()
