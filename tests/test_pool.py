"""A pool catches what the selections' matrices catch, whatever way it holds them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grammar.parser import parse_or_raise
from grammar.token_facts import Token
from grammar.tree import Node
from interpreter.evaluate import Evaluator
from interpreter.facts import make_facts
from interpreter.texts import load_texts
from interpreter.tokens import read_tokens
from synth import pool
from synth.pool import Pool
from synth.structure import mixture_of
from tests.strategies import selections, token_lists
from tests.tiny_models import tokenizer


def parts_of(text: str) -> list[Node]:
    (rule,) = parse_or_raise(text).children
    return [part.children[0] for part in mixture_of(rule).children]


ALIKE, PICKING, OTHERS = "noun", "recent(noun, 1)", "near(noun, 2)"
PLAIN = parts_of(f"1 {ALIKE} + 1 {PICKING} + 1 {OTHERS} + 1 first + 1 before(self)")
SCORES = parts_of("1 score(2.0 noun - 1.0 distance(any)) + 1 score(0.1 self)")


@pytest.mark.parametrize("shares", [True, False])
@settings(max_examples=100, deadline=None)
@given(
    found=st.lists(selections(), max_size=6),
    batch=st.lists(token_lists(), min_size=1, max_size=3),
    causal=st.booleans(),
    seed=st.integers(0, 9),
)
def test_products_are_those_of_the_matrices(
    shares: bool, found: list[Node], batch: list[list[Token]], causal: bool, seed: int
) -> None:
    evaluator = Evaluator(make_facts(batch, causal=causal))
    visible = evaluator.facts.visible
    weights = torch.rand(visible.shape, generator=torch.Generator().manual_seed(seed)) * visible
    nodes = list(dict.fromkeys([*found, *PLAIN, *(SCORES if shares else [])]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "BLOCK", 4)
        held = Pool.of(nodes, evaluator, shares=shares)
        products = held.products(weights)
    assert set(held.nodes) == set(nodes)
    for k, node in enumerate(held.nodes):
        values = evaluator.shares(node) if shares else evaluator.weights(node)
        torch.testing.assert_close(
            products[..., k], (values * weights).sum(-1), rtol=1e-4, atol=1e-5
        )


def test_few_selections_need_a_matrix(tagger) -> None:
    tokens = read_tokens(load_texts("stories").documents[:2], tokenizer(), tagger, 48)
    held = Pool.of(PLAIN, Evaluator(make_facts(tokens, causal=True)), shares=True)
    alike, picks, matrices = held._alike, held._picks, held._others[0]
    assert (alike.shape[-1], picks.shape[-1], matrices.shape[-1]) == (2, 2, 1)
