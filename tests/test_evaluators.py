"""The vectorised evaluator against the reference that defines the language."""

import weakref
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grammar.canonical import canonical
from grammar.parser import parse_or_raise
from grammar.primitives import PRIMITIVES, Primitive
from grammar.token_facts import Token
from grammar.tree import Node
from interpreter import evaluate, mixing
from interpreter.evaluate import Evaluator
from interpreter.facts import make_facts
from interpreter.reference import Reference
from tests.strategies import programs, token_lists


def reference_matrix(program: Node, tokens: list[Token], causal: bool) -> torch.Tensor:
    return torch.tensor(Reference(tokens, causal=causal).matrix(program))


def vectorised(program: Node, batch: list[list[Token]], causal: bool) -> torch.Tensor:
    """The compiled evaluator's matrices, which are those that torch alone computes."""
    facts = make_facts(batch, causal=causal)
    compiled = Evaluator(facts).matrices(program)
    with patch.object(evaluate, "COMPILED", False):
        plain = Evaluator(facts).matrices(program)
    torch.testing.assert_close(compiled, plain, atol=2e-6, rtol=1e-5)
    return compiled


@pytest.mark.parametrize("primitive", PRIMITIVES.values(), ids=lambda p: p.name)
@settings(max_examples=25, deadline=None)
@given(tokens=token_lists(), causal=st.booleans())
def test_example_of_every_primitive(
    primitive: Primitive, tokens: list[Token], causal: bool
) -> None:
    for text in (primitive.example, f"score(2.5 {primitive.example} - 1.0 self)"):
        program = parse_or_raise(text)
        expected = reference_matrix(program, tokens, causal)
        torch.testing.assert_close(vectorised(program, [tokens], causal)[0], expected)


@settings(max_examples=300, deadline=None)
@given(
    program=programs(), batch=st.lists(token_lists(), min_size=1, max_size=3), causal=st.booleans()
)
def test_generated_programs(program: Node, batch: list[list[Token]], causal: bool) -> None:
    matrices = vectorised(program, batch, causal)
    for tokens, matrix in zip(batch, matrices, strict=True):
        n = len(tokens)
        expected = reference_matrix(program, tokens, causal)
        torch.testing.assert_close(matrix[:n, :n], expected, atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(matrix[:n].sum(-1), torch.ones(n))
        assert not matrix[n:].any()
        assert not matrix[:, n:].any()
        assert matrix.min() >= 0
        if causal:
            assert not matrix.triu(1).any()


@settings(max_examples=100, deadline=None)
@given(
    program=programs(), batch=st.lists(token_lists(), min_size=2, max_size=3), causal=st.booleans()
)
def test_the_rest_of_the_batch_changes_nothing(
    program: Node, batch: list[list[Token]], causal: bool
) -> None:
    together = vectorised(program, batch, causal)
    again = vectorised(program, batch, causal)
    assert torch.equal(together, again)
    n = len(batch[0])
    alone = vectorised(program, batch[:1], causal)[0]
    torch.testing.assert_close(together[0, :n, :n], alone, atol=2e-6, rtol=1e-5)


@settings(max_examples=100, deadline=None)
@given(
    program=programs(), batch=st.lists(token_lists(), min_size=1, max_size=3), causal=st.booleans()
)
def test_the_last_row_alone(program: Node, batch: list[list[Token]], causal: bool) -> None:
    whole = vectorised(program, batch, causal)
    rows = Evaluator(make_facts(batch, causal=causal, last=True)).matrices(program)
    assert rows.shape == (len(batch), 1, whole.shape[-1])
    for row, matrix, tokens in zip(rows, whole, batch, strict=True):
        torch.testing.assert_close(row[0], matrix[len(tokens) - 1], atol=2e-6, rtol=1e-5)


@settings(max_examples=300, deadline=None)
@given(program=programs(), tokens=token_lists(), causal=st.booleans())
def test_canonical_form_means_the_same(program: Node, tokens: list[Token], causal: bool) -> None:
    simpler = canonical(program)
    expected = reference_matrix(program, tokens, causal)
    torch.testing.assert_close(
        reference_matrix(simpler, tokens, causal), expected, atol=1e-6, rtol=1e-5
    )
    torch.testing.assert_close(
        vectorised(simpler, [tokens], causal)[0], expected, atol=2e-6, rtol=1e-5
    )


def test_far_members_do_not_underflow() -> None:
    tokens = [_plain(0, "noun")] + [_plain(1, "")] * 999
    program = parse_or_raise("near(same_token, 1)")
    matrix = vectorised(program, [tokens], True)[0]
    torch.testing.assert_close(matrix.sum(-1), torch.ones(1000))
    program = parse_or_raise("near(noun, 1)")
    nouns = [_plain(0, "", "VERB"), _plain(0, "", "NOUN"), *[_plain(1, "")] * 998]
    assert vectorised(program, [nouns], True)[0, -1, 1] == 1.0


def _plain(token_id: int, word: str, pos: str = "X") -> Token:
    return Token(
        token_id, word, word, -1, "", pos, "", -1, 0, False, False, 0, False, False, False, False
    )


def test_an_evaluator_goes_with_its_last_name() -> None:
    """Not when garbage is collected one day: what it keeps is large."""
    evaluator = Evaluator(make_facts([[_plain(0, "a"), _plain(1, "b")]], causal=True))
    evaluator.matrices(parse_or_raise("near(same_word, 4)"))
    gone = weakref.ref(evaluator)
    del evaluator
    assert gone() is None


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for two selections at a time the matrices are the same."""
    facts = make_facts([[_plain(k % 3, "ab"[k % 2], "NOUN") for k in range(12)]], causal=True)
    texts = [f"near(same_word, {k}) + 1 newest(noun, {k})" for k in (1, 2, 3, 1, 2)]
    programs = [parse_or_raise(f"1 {text}") for text in texts]
    roomy = Evaluator(facts)
    expected = [roomy.matrices(program) for program in programs]
    monkeypatch.setattr(mixing, "BYTES", 1)
    monkeypatch.setattr(mixing, "MOST_SELECTIONS", 2)
    monkeypatch.setattr(evaluate, "PREDICATE_BYTES", 1)
    tight = Evaluator(facts)
    for program, matrices in zip(programs, expected, strict=True):
        assert torch.equal(tight.matrices(program), matrices)
