"""A forward pass that begins at a later layer, because what comes before it is known.

Only where nothing before that layer changes: the layers before give again what they gave.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from grammar.errors import InputError


def layers_of(model: PreTrainedModel) -> nn.ModuleList:
    """The stack of layers; InputError where the model has no list of them."""
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == model.config.num_hidden_layers:
            return module
    raise InputError(f"{type(model).__name__} has no list of its layers")


@contextmanager
def recorded(model: PreTrainedModel) -> Iterator[list[Any]]:
    """Within this context a forward pass writes down what each layer gives."""
    outputs: list[Any] = []
    hooks = [
        layer.register_forward_hook(lambda _layer, _args, output: outputs.append(output))
        for layer in layers_of(model)
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def resumed(model: PreTrainedModel, outputs: list[Any], layer: int) -> Iterator[None]:
    """Within this context the layers before `layer` give what was written down, at no cost."""
    skipped = list(layers_of(model))[:layer]
    try:
        for module, output in zip(skipped, outputs[:layer], strict=True):
            vars(module)["forward"] = lambda *_args, _output=output, **_options: _output
        yield
    finally:
        for module in skipped:
            vars(module).pop("forward", None)
