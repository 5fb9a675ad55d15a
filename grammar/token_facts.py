"""What the language can know about a token: for one token, and for a batch of texts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

UNIVERSAL_POS = (
    *("ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NUM", "NOUN"),
    *("PART", "PRON", "PROPN", "PUNCT", "SCONJ", "SPACE", "SYM", "VERB", "X"),
)
"""The universal parts of speech (universaldependencies.org/u/pos)."""


@dataclass(frozen=True, slots=True)
class Token:
    """One model token and the word that it belongs to.

    `text` is what the token covers, without white space around it except line breaks;
    `word` the word as it is written, "" for none; `lemma` is in lower case.  `clause` counts the
    stretches that end with a punctuation mark or a line break; a word is `repeated` where the
    text has had it before, in any case.  `word_index`, `governor` (the word
    index of the dependency head), `sentence` and `clause` are -1 where there is none.
    """

    token_id: int
    text: str
    word: str
    word_index: int
    lemma: str
    pos: str
    role: str
    governor: int
    sentence: int
    sentence_start: bool
    sentence_end: bool
    clause: int
    repeated: bool
    continuation: bool
    quoted: bool
    special: bool


class TensorFacts(Protocol):
    """The same facts for a batch of texts, as tensors; the padding is on the right.

    All fields but the last four are [batch, tokens], int64 or bool.  Identifiers are equal
    exactly where the strings are, and negative where there is none.  The queries are all tokens
    or some of them.
    """

    token_id: "Tensor"
    word: "Tensor"
    folded_word: "Tensor"
    word_index: "Tensor"
    lemma: "Tensor"
    pos: "Tensor"
    role: "Tensor"
    governor: "Tensor"
    sentence: "Tensor"
    sentence_start: "Tensor"
    sentence_end: "Tensor"
    clause: "Tensor"
    repeated: "Tensor"
    continuation: "Tensor"
    quoted: "Tensor"
    special: "Tensor"
    capital: "Tensor"
    position: "Tensor"  # [tokens] int64: 0, 1, 2, ...
    query: "Tensor"  # [batch or 1, queries] int64: the positions of the queries
    visible: "Tensor"  # [batch, queries, tokens] bool: may query i look at key j?
    newest: "Tensor"  # [batch, queries] int64: the last key that the query may look at

    def at_query(self, values: "Tensor") -> "Tensor":
        """[batch, queries] of [batch, tokens]: the values at the queries."""
        ...

    def at_key(self, values: "Tensor", keys: "Tensor") -> "Tensor":
        """[batch, queries, 1] of [batch, 1 or queries, tokens]: for each query the value at a key.

        `keys` is [batch or 1, queries] int64.
        """
        ...

    def text_in(self, characters: str) -> "Tensor":
        """[batch, tokens] bool: the token's text is not empty and made of these characters."""
        ...

    def text_has(self, characters: str) -> "Tensor":
        """[batch, tokens] bool: the token's text holds one of these characters."""
        ...

    def text_has_digit(self) -> "Tensor":
        """[batch, tokens] bool: the token's text holds a decimal digit."""
        ...

    def word_id(self, word: str) -> int:
        """The identifier of a word in this batch, -2 where no token has it."""
        ...

    def lemma_id(self, lemma: str) -> int:
        """The identifier of a lemma in this batch, -2 where no token has it."""
        ...

    def role_id(self, role: str) -> int:
        """The identifier of a dependency role in this batch, -2 where no token has it."""
        ...
