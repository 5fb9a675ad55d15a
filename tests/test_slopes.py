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
from synth.slopes import Slopes, matrices
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
    slopes = Slopes(constants, evaluator, target)
    assert slopes.descend(constants) == pytest.approx(float(found.detach()), abs=1e-5)
    for tensor, gradient in zip(constants.tensors, expected, strict=True):
        assert tensor.grad is not None
        torch.testing.assert_close(tensor.grad, gradient, atol=2e-5, rtol=1e-3)


@settings(max_examples=100, deadline=None)
@given(
    program=programs(),
    batch=st.lists(token_lists(), min_size=1, max_size=3),
    causal=st.booleans(),
    seed=st.integers(0, 9),
)
def test_any_loss_has_the_gradients_of_autograd(
    program: Node, batch: list[list[Token]], causal: bool, seed: int
) -> None:
    evaluator = Evaluator(make_facts(batch, causal=causal))
    made = torch.Generator().manual_seed(seed)
    pull = torch.randn(evaluator.facts.visible.shape, generator=made)
    found, gradients = [], []
    for by in (matrices, lambda c, e: Features(c, e).matrices(c)):
        constants = Constants(canonical(program))
        for tensor in constants.tensors:
            tensor.requires_grad_(True)
        found.append(by(constants, evaluator))
        (found[-1].square() * pull).sum().backward()
        gradients.append(
            [t.grad if t.grad is not None else torch.zeros_like(t) for t in constants.tensors]
        )
    torch.testing.assert_close(*found, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-3)
