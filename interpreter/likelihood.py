"""What a model finds likely: of a causal model each next token, of a masked one each hidden token.

A masked model is given every token of a text once as its mask token, all others in place
(pseudo-perplexity: Salazar et al., "Masked Language Model Scoring", arXiv 1910.14659).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from grammar.errors import InputError
from interpreter.models import LoadedModel
from interpreter.padding import padded
from interpreter.rows import FactsOf, Rows, rows_for
from interpreter.texts import Texts
from interpreter.tokens import Encoded, encode

if TYPE_CHECKING:
    from spacy.language import Language


@dataclass(frozen=True)
class Example:
    """One input of a model, and where in it the model is asked for which token."""

    document: int
    text: Encoded
    asked: list[int]
    answers: list[int]


def examples(loaded: LoadedModel, texts: Texts, max_tokens: int) -> list[Example]:
    """The inputs that ask for every token of the texts, cut to `max_tokens`, special ones left out.

    InputError for a model that predicts no tokens.
    """
    if loaded.model.get_output_embeddings() is None:
        raise InputError(f"{loaded.name} predicts no tokens, so it has no perplexity")
    mask_id = loaded.tokenizer.mask_token_id
    if not loaded.causal and mask_id is None:
        raise InputError(f"{loaded.name} has no mask token, so it has no pseudo-perplexity")
    found = []
    for document, text in enumerate(encode(texts.documents, loaded.tokenizer, max_tokens)):
        told = [i for i, special in enumerate(text.special) if not special]
        if loaded.causal:
            told = [i for i in told if i > 0]
            asked, answers = [i - 1 for i in told], [text.ids[i] for i in told]
            found.append(Example(document, text, asked, answers))
        else:
            found += [
                Example(document, _hidden(text, i, mask_id, loaded), [i], [text.ids[i]])
                for i in told
            ]
    return found


def _hidden(text: Encoded, place: int, mask_id: int, loaded: LoadedModel) -> Encoded:
    """The text with the mask token, and its name, in the place of one token."""
    start, end = text.spans[place]
    name = str(loaded.tokenizer.mask_token)
    longer = len(name) - (end - start)
    spans = list(text.spans)
    spans[place] = (start, start + len(name))
    for i in range(place + 1, len(spans)):
        # Tokens that share characters with the hidden one keep what is left of theirs.
        spans[i] = (max(spans[i][0] + longer, start), max(spans[i][1] + longer, start))
    return Encoded(
        text=text.text[:start] + name + text.text[end:],
        ids=[*text.ids[:place], mask_id, *text.ids[place + 1 :]],
        spans=spans,
        special=[*text.special[:place], True, *text.special[place + 1 :]],
    )


class Batch:
    """Some examples, padded on the right, as they are given to the model."""

    def __init__(self, loaded: LoadedModel, chosen: Sequence[Example]) -> None:
        self._loaded = loaded
        self.examples = chosen
        self.ids, self.mask = padded([e.text.ids for e in chosen])
        self._asked = [(row, i) for row, e in enumerate(chosen) for i in e.asked]
        self._answers = torch.tensor([token for e in chosen for token in e.answers])

    def rows(self, tagger: "Language", facts_of: FactsOf) -> Rows:
        """Where programs give their rows for these examples."""
        texts = [e.text for e in self.examples]
        return rows_for(self._loaded, tagger, facts_of, texts, self._loaded.model.device)

    def logits(self) -> Tensor:
        """[asked, vocabulary] float32 of the model as it is, example after example."""
        device = self._loaded.model.device
        output = self._loaded.model(
            input_ids=self.ids.to(device), attention_mask=self.mask.to(device)
        )
        rows, places = torch.tensor(self._asked).T
        logits: Tensor = output.logits[rows.to(device), places.to(device)]
        return logits.float()

    def surprise(self, logits: Tensor) -> list[float]:
        """For each example the sum of -ln p over its answers, in nats."""
        losses = torch.nn.functional.cross_entropy(
            logits, self._answers.to(logits.device), reduction="none"
        )
        return [
            float(part.cpu().double().sum())
            for part in losses.split([len(e.asked) for e in self.examples])
        ]


def batches(
    loaded: LoadedModel, chosen: Sequence[Example], heads: int, most: int = 8
) -> list[Batch]:
    """The examples by turns, at most so many at once that matrices of `heads` stay under 256 MB."""
    longest = max(len(e.text.ids) for e in chosen)
    size = max(1, min(most, 2**26 // (max(heads, 1) * longest**2)))
    return [Batch(loaded, chosen[i : i + size]) for i in range(0, len(chosen), size)]
