"""Given matrices in place of heads' attention, between softmax and value product."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from interpreter.attention import check_reached, handled
from interpreter.capture import Head


@contextmanager
def substituted(model: PreTrainedModel, patterns: Mapping[Head, Tensor]) -> Iterator[None]:
    """Within this context the given heads attend as their matrices say, all others as ever.

    `patterns` are [batch, query, key] of the batch that is run, padding included; gradients pass.
    The other heads' weights stay as they are, bit for bit.  See `put_in_place` for keys that a
    layer does not see.  InputError, at the end, for a layer that was not asked for its weights.
    """
    by_layer: dict[int, dict[int, Tensor]] = {}
    for (layer, head), pattern in patterns.items():
        by_layer.setdefault(layer, {})[head] = pattern

    reached = set[int]()

    def handle(
        _module: nn.Module, layer: int, weights: Tensor, _value: Tensor, visible: Tensor
    ) -> Tensor:
        reached.add(layer)
        here = by_layer.get(layer)
        return weights if here is None else put_in_place(here, weights, visible)

    with handled(model, handle):
        yield
    check_reached(model, by_layer, reached)


def put_in_place(patterns: Mapping[int, Tensor], weights: Tensor, visible: Tensor) -> Tensor:
    """The weights [batch, head, query, key] with those of some heads replaced.

    A pattern is [batch, query, all keys].  Where the layer does not see a key (a sliding window,
    the future), its weight goes to the keys that the layer does see, in proportion; to the
    earliest of them where the pattern gave them nothing.  Rows of padding stay as they are.
    """
    heads = list(patterns)
    given = torch.stack([patterns[head] for head in heads], dim=1).to(weights.device)
    keys = weights.shape[-1]
    total = given.sum(-1, keepdim=True)
    # A sliding window's cache holds the latest keys alone.
    seen = given[..., -keys:] * visible
    left = seen.sum(-1, keepdim=True)
    earliest = (visible & (visible.cumsum(-1) == 1)).to(seen.dtype)
    hidden = total - left > 1e-6
    kept = torch.where(left > 1e-6, seen * (total / left.clamp_min(1e-6)), total * earliest)
    placed = torch.where(hidden, kept, seen).to(weights.dtype)
    result = weights.clone()
    result[:, heads] = torch.where(visible.any(-1, keepdim=True), placed, weights[:, heads])
    return result
