"""Decodes several continuations of one prompt as branches of one sequence.

`generate` copies the prompt's keys and values for every continuation, and all of them again for
every token.  Here the prompt stands once in the cache, each step adds one token per branch, and a
mask keeps the branches from seeing each other, so a step costs about as much as one of a single
continuation.  Positions are those that each branch would have alone.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.cache_utils import Cache, CacheLayerMixin

from grammar.errors import InputError
from interpreter.models import LoadedModel

ATTENTION = "grouped"


def _grouped_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Query heads that share a key head become further queries of it, so no key is copied."""
    batch, heads, queries, width = query.shape
    groups = heads // key.shape[1]
    output = torch.nn.functional.scaled_dot_product_attention(
        query.reshape(batch, key.shape[1], groups * queries, width),
        key,
        value,
        attn_mask=attention_mask.repeat(1, 1, groups, 1),
        scale=scaling,
    )
    return output.reshape(batch, heads, queries, width).transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, _grouped_attention)


class _Layer(CacheLayerMixin):
    """Keys and values [1, heads, tokens, width] in a buffer that grows and can be cut back."""

    is_sliding = False
    keys: Any
    values: Any

    def __init__(self) -> None:
        super().__init__()
        self.length = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> Any:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[2]
        self.keys = self._with_room(self.keys, key_states, end)
        self.values = self._with_room(self.values, value_states, end)
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def _with_room(self, buffer: Tensor, states: Tensor, end: int) -> Tensor:
        if end <= buffer.shape[2]:
            return buffer
        batch, heads, _, width = states.shape
        larger = states.new_empty(batch, heads, 2 * end, width)
        larger[:, :, : self.length] = buffer[:, :, : self.length]
        return larger

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return -1


class Branching:
    """One prompt and its branches in the cache of a causal model.

    Raises InputError for a model that is not causal or mixes in layers other than attention.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._model: Any = loaded.model
        config = self._model.config
        kinds = set(getattr(config, "layer_types", None) or ())
        if not loaded.causal or not kinds <= {"full_attention", "sliding_attention"}:
            raise InputError(f"model {loaded.name} cannot write programs: name a causal one")
        self._window = config.sliding_window if "sliding_attention" in kinds else None
        self._model.set_attn_implementation(ATTENTION)
        self._layers = [_Layer() for _ in range(loaded.layers)]
        self._cache = Cache(layers=[*self._layers])
        self._chunks: list[tuple[int, ...]] = []
        self._prompt = 0
        self._positions = torch.empty(0, dtype=torch.long)
        self._owners = torch.empty(0, dtype=torch.long)
        """Of every token in the cache: its position, and its branch or -1 for the prompt."""

    def start(self, chunks: Sequence[Sequence[int]]) -> Tensor:
        """[vocabulary] float32: the logits after the prompt, which is the chunks in a row.

        Leading chunks that the last prompt shared stay in the cache, but for the final chunk.
        Every chunk is read in one pass of its own, so that rounding does not depend on what was
        asked before.
        """
        wanted = [tuple(chunk) for chunk in chunks]
        pairs = zip(self._chunks, wanted[:-1], strict=False)
        kept = next(
            (i for i, (a, b) in enumerate(pairs) if a != b), min(len(self._chunks), len(wanted) - 1)
        )
        self._cut_back(sum(map(len, wanted[:kept])))
        for chunk in wanted[kept:]:
            end = self._prompt + len(chunk)
            positions = torch.arange(self._prompt, end)
            logits = self._forward(torch.tensor(chunk), positions, torch.full_like(positions, -1))
            self._prompt = end
        self._chunks = wanted
        return logits[-1]

    def step(self, tokens: Tensor) -> Tensor:
        """[branch, vocabulary] float32: the logits after one more token [branch] int64 each."""
        taken = (len(self._owners) - self._prompt) // len(tokens)
        positions = torch.full_like(tokens, self._prompt + taken)
        return self._forward(tokens, positions, torch.arange(len(tokens)))

    def _cut_back(self, length: int) -> None:
        for layer in self._layers:
            layer.length = length
        self._positions, self._owners = self._positions[:length], self._owners[:length]
        self._prompt = length

    def _forward(self, tokens: Tensor, positions: Tensor, owners: Tensor) -> Tensor:
        self._positions = torch.cat([self._positions, positions])
        self._owners = torch.cat([self._owners, owners])
        back = positions[:, None] - self._positions[None, :]
        mine = (self._owners == -1)[None, :] | (self._owners[None, :] == owners[:, None])
        visible = (mine & (back >= 0))[None, None]
        masks: Any = visible.to(self._model.device)
        if self._window is not None:
            near = (visible & (back < self._window)[None, None]).to(self._model.device)
            masks = {"full_attention": masks, "sliding_attention": near}
        with torch.no_grad():
            output = self._model(
                tokens[None].to(self._model.device),
                attention_mask=masks,
                position_ids=positions[None].to(self._model.device),
                past_key_values=self._cache,
                # A prompt is continued after its last token alone.
                logits_to_keep=len(tokens) if int(owners[0]) >= 0 else 1,
            )
        logits: Tensor = output.logits[0].float().cpu()
        return logits
