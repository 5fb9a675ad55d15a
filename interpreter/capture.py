"""Captures what heads do on texts: attention matrices, and the values that they move."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from grammar.errors import InputError
from grammar.limits import MAX_SEQUENCE_TOKENS
from grammar.token_facts import Token
from interpreter.attention import check_reached, handled, output_projection, projected_values
from interpreter.facts import Facts, make_facts
from interpreter.models import LoadedModel, load_spacy
from interpreter.padding import padded
from interpreter.progress import progress_bar
from interpreter.texts import Texts
from interpreter.tokens import read_tokens

if TYPE_CHECKING:
    from spacy.language import Language

Head = tuple[int, int]
"""(layer, head), both from 0."""

BATCH_TEXTS = 8


@dataclass(frozen=True)
class Captured:
    """What some heads of a model do on some texts, padded on the right.

    `attention` is [text, head, query, key] float32, 0 on padding; `values` is
    [text, head, key, head size] float32, the value vectors turned so that their norms are
    those in the residual stream (see `projected_values`).
    """

    heads: tuple[Head, ...]
    tokens: list[list[Token]]
    attention: Tensor
    values: Tensor
    causal: bool

    def facts(self, device: str = "cpu") -> Facts:
        """Facts about these texts, of the same width as the matrices."""
        return make_facts(self.tokens, causal=self.causal, device=device)

    def first(self, count: int) -> "Captured":
        """The same heads on the first `count` texts."""
        tokens = self.tokens[:count]
        width = max(map(len, tokens))
        return Captured(
            self.heads,
            tokens,
            self.attention[:count, :, :width, :width],
            self.values[:count, :, :width],
            self.causal,
        )

    def head(self, head: Head) -> Tensor:
        """[text, query, key] float32 of one head."""
        return self.attention[:, self.heads.index(head)]

    def finite_heads(self) -> tuple[Head, ...]:
        """Those whose attention and values hold neither NaN nor infinity."""
        both = self.attention, self.values
        return tuple(
            head
            for k, head in enumerate(self.heads)
            if all(bool(tensor[:, k].isfinite().all()) for tensor in both)
        )


def check_finite(patterns: Captured, model: str) -> None:
    """InputError where a head's attention or values hold NaN or infinity."""
    if wrong := set(patterns.heads) - set(patterns.finite_heads()):
        layer, head = min(wrong)
        raise InputError(
            f"{model}: attention of {len(wrong)} of {len(patterns.heads)} heads is not finite on "
            f"these texts, first of L{layer}H{head}: leave them out, or look at the weights"
        )


def check_texts(loaded: LoadedModel, texts: Texts, max_tokens: int) -> None:
    """InputError where a text has one token, or `max_tokens` is more than can be read."""
    if max_tokens > MAX_SEQUENCE_TOKENS:
        raise InputError(f"--max-tokens: programs read at most {MAX_SEQUENCE_TOKENS:,}")
    if max_tokens > loaded.max_tokens:
        raise InputError(
            f"{max_tokens} tokens: {loaded.name} takes at most {loaded.max_tokens}; "
            "give a smaller --max-tokens"
        )
    for number, ids in enumerate(loaded.tokenizer(list(texts.documents))["input_ids"], start=1):
        if len(ids) < 2:
            raise InputError(
                f"{texts.name}: document {number} of {len(texts.documents)} has {len(ids)} token; "
                "attention needs at least two: remove it"
            )


def capture(loaded: LoadedModel, texts: Texts, heads: Sequence[Head], max_tokens: int) -> Captured:
    """Runs the model on the texts, cut to `max_tokens`, and keeps what the given heads do.

    InputError as by `check_texts` and `check_finite`.
    """
    check_texts(loaded, texts, max_tokens)
    with progress_bar() as bar:
        task = bar.add_task(f"Attention of {loaded.name}", total=len(texts.documents))
        found = captured(loaded, texts, heads, max_tokens, partial(bar.advance, task))
    check_finite(found, loaded.name)
    return found


def captured(
    loaded: LoadedModel,
    texts: Texts,
    heads: Sequence[Head],
    max_tokens: int,
    advance: Callable[[int], None] = lambda _: None,
) -> Captured:
    """The same for texts that were checked, finite or not; `advance` is told how many are done."""
    tokens = read_tokens(texts.documents, loaded.tokenizer, _tagger(), max_tokens)
    attention, values = empty_patterns(loaded, tokens, heads)
    for start in range(0, len(tokens), BATCH_TEXTS):
        batch = tokens[start : start + BATCH_TEXTS]
        capture_batch(loaded, batch, heads, attention[start:], values[start:])
        advance(len(batch))
    return Captured(tuple(heads), tokens, attention, values, loaded.causal)


@cache
def _tagger() -> "Language":
    """Loaded once in each process."""
    return load_spacy()


def empty_patterns(
    loaded: LoadedModel, tokens: Sequence[Sequence[Token]], heads: Sequence[Head]
) -> tuple[Tensor, Tensor]:
    """Room for attention and values of some heads on some texts, filled with 0."""
    width = max(map(len, tokens))
    attention = torch.zeros(len(tokens), len(heads), width, width)
    return attention, torch.zeros(len(tokens), len(heads), width, _head_size(loaded))


def capture_batch(
    loaded: LoadedModel,
    batch: Sequence[Sequence[Token]],
    heads: Sequence[Head],
    attention: Tensor,
    values: Tensor,
) -> None:
    """Runs the model once, and writes what the heads do into the first rows of the two tensors.

    InputError for a layer whose attention can't be seen.
    """
    ids, mask = padded([[token.token_id for token in text] for text in batch])
    width = ids.shape[1]
    real = mask.bool()
    pairs = real[:, :, None] & real[:, None, :]
    reached = set[int]()

    def keep(
        module: nn.Module, layer: int, weights: Tensor, value: Tensor, _visible: Tensor
    ) -> Tensor:
        reached.add(layer)
        wanted = [(k, head) for k, (at, head) in enumerate(heads) if at == layer]
        if wanted:
            turned = projected_values(output_projection(loaded.model, module), value)
            for k, head in wanted:
                attention[: len(batch), k, :width, :width] = weights[:, head].float().cpu() * pairs
                values[: len(batch), k, :width] = turned[:, head].cpu() * real[:, :, None]
        return weights

    device = loaded.model.device
    with torch.no_grad(), handled(loaded.model, keep):
        loaded.model(input_ids=ids.to(device), attention_mask=mask.to(device))
    check_reached(loaded.model, {layer for layer, _ in heads}, reached)


def _head_size(loaded: LoadedModel) -> int:
    config = loaded.model.config
    return int(getattr(config, "head_dim", None) or config.hidden_size // loaded.heads)
