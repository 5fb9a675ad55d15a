"""The compiled gradient of a program's constants is that of autograd."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grammar.canonical import canonical
from grammar.token_facts import Token
from grammar.tree import Node
from interpreter.evaluate import Evaluator
from interpreter.facts import make_facts
from interpreter.scores import iou
from synth.constants import Constants, Features
from synth.slopes import Slopes
from tests.strategies import programs, token_lists


@settings(max_examples=300, deadline=None)
@given(
    program=programs(),
    batch=st.lists(token_lists(), min_size=1, max_size=3),
    causal=st.booleans(),
    seed=st.integers(0, 9),
)
def test_gradients_agree(program: Node, batch: list[list[Token]], causal: bool, seed: int) -> None:
    evaluator = Evaluator(make_facts(batch, causal=causal))
    assert evaluator.mixer is not None
    visible = evaluator.facts.visible
    noise = torch.rand(visible.shape, generator=torch.Generator().manual_seed(seed)) ** 3
    target = (noise + 0.01) * visible
    target = target / target.sum(-1, keepdim=True).clamp_min(1e-9)
    constants = Constants(canonical(program))
    for tensor in constants.tensors:
        tensor.requires_grad_(True)
    found = iou(target, Features(constants, evaluator).matrices(constants)).mean()
    (1 - found).backward()
    expected = [t.grad if t.grad is not None else torch.zeros_like(t) for t in constants.tensors]
    slopes = Slopes(constants, evaluator, evaluator.mixer, target)
    assert slopes.descend(constants) == pytest.approx(float(found), abs=1e-5)
    for tensor, gradient in zip(constants.tensors, expected, strict=True):
        assert tensor.grad is not None
        torch.testing.assert_close(tensor.grad, gradient, atol=2e-5, rtol=1e-3)
