"""Facts about a batch of texts as tensors: what the tensor bodies of the primitives read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from grammar.token_facts import UNIVERSAL_POS, Token
from grammar.words import fold_word


@dataclass
class Facts:
    """Tensors about a batch of texts, padded on the right.

    Fields are [batch, tokens], int64 identifiers or bool, but for `position` [tokens] int64,
    `query` [batch or 1, queries] int64 (the positions of the tokens that ask: all of them, or of
    each text the last), `real` [batch, tokens] bool (not padding), `visible`
    [batch, queries, key] bool, and `newest` [batch, queries] int64, the last visible key (0 where
    there is none): a query sees the keys up to it.
    Identifiers are equal exactly where the strings are; -1 stands for none, and for padding.
    """

    token_id: Tensor
    word: Tensor
    folded_word: Tensor
    word_index: Tensor
    lemma: Tensor
    pos: Tensor
    role: Tensor
    governor: Tensor
    sentence: Tensor
    sentence_start: Tensor
    sentence_end: Tensor
    clause: Tensor
    repeated: Tensor
    continuation: Tensor
    quoted: Tensor
    special: Tensor
    capital: Tensor
    position: Tensor
    query: Tensor
    real: Tensor
    visible: Tensor
    newest: Tensor
    causal: bool
    _text: Tensor = field(repr=False)
    _texts: list[str] = field(repr=False)
    _words: dict[str, int] = field(repr=False)
    _lemmas: dict[str, int] = field(repr=False)
    _roles: dict[str, int] = field(repr=False)

    def at_query(self, values: Tensor) -> Tensor:
        """[batch, queries] of [batch, tokens]: the values at the queries."""
        return values.gather(1, self.query.expand(len(values), -1))

    def at_key(self, values: Tensor, keys: Tensor) -> Tensor:
        """[batch, queries, 1] of [batch, 1 or queries, tokens]: for each query the value at a key.

        `keys` is [batch or 1, queries] int64.
        """
        chosen = keys.expand(self.visible.shape[:2])[:, :, None]
        return values.expand(self.visible.shape).gather(2, chosen)

    def _where_text(self, holds: Callable[[str], bool]) -> Tensor:
        """[batch, tokens] bool: a property of the token's text, asked once per distinct text."""
        answers = torch.tensor([holds(t) for t in self._texts], device=self._text.device)
        return answers[self._text] & self.real

    def text_in(self, characters: str) -> Tensor:
        """[batch, tokens] bool: the token's text is not empty and made of these characters."""
        return self._where_text(lambda t: bool(t) and all(c in characters for c in t))

    def text_has(self, characters: str) -> Tensor:
        """[batch, tokens] bool: the token's text holds one of these characters."""
        return self._where_text(lambda t: any(c in t for c in characters))

    def text_has_digit(self) -> Tensor:
        """[batch, tokens] bool: the token's text holds a decimal digit."""
        return self._where_text(lambda t: any(c.isdecimal() for c in t))

    def word_id(self, word: str) -> int:
        """The identifier of a word in this batch, -2 where no token has it."""
        return self._words.get(word, -2)

    def lemma_id(self, lemma: str) -> int:
        """The identifier of a lemma in this batch, -2 where no token has it."""
        return self._lemmas.get(lemma, -2)

    def role_id(self, role: str) -> int:
        """The identifier of a dependency role in this batch, -2 where no token has it."""
        return self._roles.get(role, -2)


def on_first(patterns: Tensor, facts: Facts) -> Tensor:
    """The part of patterns [text, query, key] on the first of their texts, which the facts tell."""
    texts, width, _ = facts.visible.shape
    return patterns[:texts, :width, :width]


def make_facts(
    batch: Sequence[Sequence[Token]],
    *,
    causal: bool,
    last: bool = False,
    device: torch.device | str = "cpu",
) -> Facts:
    """The facts of a batch of texts, each a list of at least one token.

    With `last` only the last token of each text asks, so that programs give one row for it.
    """
    lengths = [len(tokens) for tokens in batch]
    width = max(lengths)

    def padded(value: Callable[[Token], int | bool], padding: int | bool) -> Tensor:
        rows = [[value(t) for t in tokens] + [padding] * (width - len(tokens)) for tokens in batch]
        return torch.tensor(rows, device=device)

    def identified(value: Callable[[Token], str]) -> tuple[Tensor, dict[str, int]]:
        known: dict[str, int] = {"": -1}
        for tokens in batch:
            for token in tokens:
                known.setdefault(value(token), len(known) - 1)
        return padded(lambda t: known[value(t)], -1), known

    word, words = identified(lambda t: t.word)
    folded, _ = identified(lambda t: fold_word(t.word))
    lemma, lemmas = identified(lambda t: t.lemma)
    role, roles = identified(lambda t: t.role)
    texts = sorted({t.text for tokens in batch for t in tokens} | {""})
    text_index = {text: i for i, text in enumerate(texts)}
    pos_index = {pos: i for i, pos in enumerate(UNIVERSAL_POS)}
    position = torch.arange(width, device=device)
    real = position[None, :] < torch.tensor(lengths, device=device)[:, None]
    query = torch.tensor(lengths, device=device)[:, None] - 1 if last else position[None]
    visible = real[:, None, :] & real.gather(1, query.expand(len(batch), -1))[:, :, None]
    if causal:
        visible = visible & (position <= query[:, :, None])
    return Facts(
        token_id=padded(lambda t: t.token_id, -1),
        word=word,
        folded_word=folded,
        word_index=padded(lambda t: t.word_index, -1),
        lemma=lemma,
        pos=padded(lambda t: pos_index.get(t.pos, -1), -1),
        role=role,
        governor=padded(lambda t: t.governor, -1),
        sentence=padded(lambda t: t.sentence, -1),
        sentence_start=padded(lambda t: t.sentence_start, False),
        sentence_end=padded(lambda t: t.sentence_end, False),
        clause=padded(lambda t: t.clause, -1),
        repeated=padded(lambda t: t.repeated, False),
        continuation=padded(lambda t: t.continuation, False),
        quoted=padded(lambda t: t.quoted, False),
        special=padded(lambda t: t.special, False),
        capital=padded(lambda t: t.text[:1].isupper(), False),
        position=position,
        query=query,
        real=real,
        visible=visible,
        newest=(visible.sum(-1) - 1).clamp_min(0),
        causal=causal,
        _text=padded(lambda t: text_index[t.text], text_index[""]),
        _texts=texts,
        _words=words,
        _lemmas=lemmas,
        _roles=roles,
    )
