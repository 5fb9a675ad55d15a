"""The rows that programs give the queries of a batch, and where they belong in it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from grammar.errors import InputError
from interpreter.decoding import decode_prefixes
from interpreter.facts import Facts, make_facts
from interpreter.models import LoadedModel
from interpreter.padding import padded
from interpreter.tokens import Encoded, tag

if TYPE_CHECKING:
    from spacy.language import Language

FactsOf = Literal["prefix", "text"]
"""Where facts come from: for each query the text up to it, or the whole text."""


class Rows:
    """Facts about the queries of a batch, and where their rows belong.

    `at` holds for each text the positions of its tokens among the keys; a place is (text, query of
    this pass, token of the text); `shape` is [batch, query, key], padding included.
    """

    def __init__(
        self,
        facts: Facts,
        facts_of: FactsOf,
        at: list[Tensor],
        places: list[tuple[int, int, int]],
        shape: tuple[int, int, int],
    ) -> None:
        self.facts = facts
        self._facts_of = facts_of
        self._shape = shape
        device = facts.real.device
        width = facts.real.shape[1]
        # What stands past the end of a text goes to one more column, which is cut off.
        columns = torch.full((shape[0], width), shape[2])
        for text, positions in enumerate(at):
            columns[text, : len(positions)] = positions[:width]
        text, query, token = torch.tensor(places).T
        self._texts, self._tokens = text.to(device), token.to(device)
        self._queries = (text * shape[1] + query).to(device)
        self._target = ((text * shape[1] + query)[:, None] * (shape[2] + 1) + columns[text]).to(
            device
        )

    def placed(self, matrices: Tensor) -> Tensor:
        """[batch, query, key] of the pass, 0 on padding, from an evaluator's matrices."""
        # Facts of prefixes gave one row for each place, facts of texts all rows of each text.
        prefixes = self._facts_of == "prefix"
        rows = matrices[:, 0] if prefixes else matrices[self._texts, self._tokens]
        batch, queries, keys = self._shape
        result = rows.new_zeros(batch * queries * (keys + 1))
        result[self._target] = rows
        return result.view(batch, queries, keys + 1)[:, :, :keys]

    def at_queries(self, values: Tensor) -> Tensor:
        """[batch, query] of the pass, 0 on padding, from an evaluator's values at its queries."""
        prefixes = self._facts_of == "prefix"
        found = values[:, 0] if prefixes else values[self._texts, self._tokens]
        batch, queries, _ = self._shape
        result = found.new_zeros(batch * queries)
        result[self._queries] = found
        return result.view(batch, queries)


def rows_for(
    loaded: LoadedModel,
    tagger: "Language",
    facts_of: FactsOf,
    texts: Sequence[Encoded],
    device: torch.device | str,
) -> Rows:
    """Rows on a device for all tokens of some texts, padded on the right."""
    if not loaded.causal:
        return rows_of_texts(loaded, tagger, texts, device)
    ids, mask = padded([text.ids for text in texts])
    return rows_of_ids(loaded, tagger, facts_of, ids, mask, device=device)


def rows_of_ids(
    loaded: LoadedModel,
    tagger: "Language",
    facts_of: FactsOf,
    ids: Tensor,
    mask: Tensor,
    *,
    past: int = 0,
    device: torch.device | str,
) -> Rows:
    """Rows for the queries after `past` tokens, from ids and mask [batch, tokens] of all tokens.

    InputError for a text without tokens.
    """
    tokens, places = [], []
    at = [row.nonzero()[:, 0] for row in mask]
    for text, positions in enumerate(at):
        if not len(positions):
            raise InputError(f"text {text + 1} of {len(ids)} has no tokens: its mask is 0")
        prefixes = decode_prefixes(ids[text, positions].tolist(), loaded.tokenizer)
        asked = [i for i, position in enumerate(positions.tolist()) if position >= past]
        places += [(text, int(positions[i]) - past, i) for i in asked]
        tokens += [prefixes[i] for i in asked] if facts_of == "prefix" else prefixes[-1:]
    facts = make_facts(
        tag(tokens, tagger),
        causal=loaded.causal,
        last=facts_of == "prefix",
        device=device,
    )
    return Rows(facts, facts_of, at, places, (len(ids), ids.shape[1] - past, ids.shape[1]))


def rows_of_texts(
    loaded: LoadedModel,
    tagger: "Language",
    texts: Sequence[Encoded],
    device: torch.device | str,
) -> Rows:
    """Rows for all tokens of known texts, padded on the right, with facts of the whole texts.

    A tokenizer that makes letters small loses them in the ids; here they are not lost.
    """
    facts = make_facts(tag(texts, tagger), causal=loaded.causal, device=device)
    at = [torch.arange(len(text.ids)) for text in texts]
    places = [(text, i, i) for text, positions in enumerate(at) for i in positions.tolist()]
    width = facts.real.shape[1]
    return Rows(facts, "text", at, places, (len(texts), width, width))
