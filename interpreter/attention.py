"""The one place that sees attention weights between softmax and value product.

Models reach it through the attention interface of transformers, so every model that supports
choosing its attention implementation is served by the same few lines.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from grammar.errors import InputError

NAME = "headscript"

Handler = Callable[[nn.Module, int, Tensor, Tensor, Tensor], Tensor]
"""(module, layer, weights [batch, head, query, key], value [batch, head, key, head size],
visible [batch or 1, 1, query, key] bool: may the query see the key?) -> the weights to go on with.
Keys and values of grouped heads are already repeated.  With a cache there are fewer queries than
keys, and a sliding-window layer may hold its latest keys alone."""

_UNKNOWN = ("softcap", "s_aux", "position_bias")
"""Options that change the weights in ways that are not followed here."""


_handlers: WeakKeyDictionary[nn.Module, Handler] = WeakKeyDictionary()
"""Of every module of a model whose weights are seen or replaced now."""


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """Eager attention, in the arithmetic of transformers' own, with the handler in its midst."""
    for name in _UNKNOWN:
        if options.get(name) is not None:
            raise InputError(
                f"{type(module).__name__} changes its attention by {name}, which is not supported"
            )
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, dim=1) if groups > 1 else x for x in (key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    logits = query @ key.transpose(-1, -2) * scale
    visible = torch.ones_like(logits[:1, :1], dtype=torch.bool)
    if attention_mask is not None:
        logits = logits + attention_mask
        visible = attention_mask > torch.finfo(attention_mask.dtype).min / 2
    weights = torch.softmax(logits, dim=-1, dtype=torch.float32).to(query.dtype)
    layer = module.layer_idx
    weights = _handlers[module](module, int(layer), weights, value, visible)  # type: ignore[arg-type]
    return (weights @ value).transpose(1, 2).contiguous(), weights


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, eager_mask)


@contextmanager
def handled(model: PreTrainedModel, handler: Handler) -> Iterator[None]:
    """Within this context every attention layer of the model passes its weights to the handler.

    InputError for a model whose attention implementation can't be chosen, and inside another such
    context of the same model.
    """
    before = model.config._attn_implementation
    if before == NAME:
        raise InputError(
            f"the attention of this {type(model).__name__} is already being read or replaced: "
            "leave that `with` block first"
        )

    model.set_attn_implementation(NAME)
    if model.config._attn_implementation != NAME:
        raise InputError(
            f"{type(model).__name__} does not let its attention implementation be chosen, "
            "so its attention weights can't be seen or replaced"
        )
    modules = list(model.modules())
    _handlers.update(dict.fromkeys(modules, handler))
    try:
        yield
    finally:
        model.set_attn_implementation(before)
        for module in modules:
            del _handlers[module]


def check_reached(
    model: PreTrainedModel, wanted: Collection[int], reached: Collection[int]
) -> None:
    """InputError where a wanted layer is not among those whose weights the handler was given."""
    missed = sorted(set(wanted) - set(reached))
    if missed:
        raise InputError(
            f"layer {missed[0]} of this {type(model).__name__} passes its attention weights "
            "nowhere that they can be seen or replaced"
        )


def output_projection(model: PreTrainedModel, module: nn.Module) -> Tensor:
    """W_O of an attention module, [residual size, heads * head size]."""
    for name in ("o_proj", "out_proj", "c_proj", "dense"):
        projection = getattr(module, name, None)
        if projection is not None:
            weight: Tensor = projection.weight
            # GPT-2's Conv1D keeps its weight transposed.
            return weight if isinstance(projection, nn.Linear) else weight.T
    for parent in model.modules():
        if any(child is module for child in parent.children()):
            # BERT: the projection stands beside the attention, not in it.
            return parent.output.dense.weight  # type: ignore[union-attr,return-value]
    raise InputError(f"{type(module).__name__}: no output projection found")


def projected_values(projection: Tensor, value: Tensor) -> Tensor:
    """Values [batch, head, key, d] turned so that norms are those in the residual stream.

    With G_h = L L^T the Gram matrix of head h's slice of W_O,
    |a V W_O| = |a V L| for every row of weights a; L is d x d, much smaller than W_O.
    """
    heads, size = value.shape[1], value.shape[-1]
    slices = projection.float().reshape(-1, heads, size)
    gram = torch.einsum("rhd,rhe->hde", slices, slices)
    eigenvalues, vectors = torch.linalg.eigh(gram)
    root = vectors * eigenvalues.clamp_min(0).sqrt()[:, None, :]
    return torch.einsum("bhkd,hde->bhke", value.float(), root)
