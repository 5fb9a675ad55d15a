"""The static cost bound against the operations that the evaluator does where torch does all."""

import re

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch.utils._python_dispatch import TorchDispatchMode

from experiments.worst_case import candidates
from grammar import limits
from grammar.canonical import canonical
from grammar.errors import InputError
from grammar.parser import parse, parse_or_raise
from grammar.primitives import PRIMITIVES, Primitive
from grammar.token_facts import Token
from grammar.tree import Node
from interpreter import evaluate
from interpreter.cost import check_cost, program_cost
from interpreter.evaluate import Evaluator
from interpreter.facts import make_facts
from tests.fuzz import examples
from tests.strategies import programs

N = 24
TOKENS = [
    Token(
        i % 5,
        "a",
        "a",
        i,
        "a",
        "NOUN",
        "ROOT",
        i - 1,
        0,
        False,
        False,
        0,
        False,
        False,
        False,
        False,
    )
    for i in range(N)
]
FACTS = make_facts([TOKENS], causal=True)


@pytest.fixture(autouse=True)
def nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "COMPILED", False)


class CountPasses(TorchDispatchMode):
    """Counts the operations that write a whole [query, key] matrix."""

    passes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        writes = func._schema.is_mutable or all(r.alias_info is None for r in func._schema.returns)
        if writes and isinstance(result, torch.Tensor) and result.numel() >= N * (N - 1):
            self.passes += 1
        return result


def passes_done(program: Node) -> int:
    with CountPasses() as counter:
        Evaluator(FACTS).matrices(program)
    return counter.passes


def passes_bound(text: str) -> int:
    return program_cost(parse_or_raise(text), 1)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(programs())
def test_no_program_does_more_than_its_cost(program: Node) -> None:
    assert passes_done(program) <= program_cost(program, 1)


@pytest.mark.parametrize("primitive", PRIMITIVES.values(), ids=lambda p: p.name)
def test_declared_costs_are_close(primitive: Primitive) -> None:
    # What no query matters for costs less than is declared: a selection of a relation costs all.
    example = re.sub(r"\b(noun|stop|any)(?=[,)])", "same_word", primitive.example)
    program = parse_or_raise(f"3 {example} + 1 score(1.0 {example})")
    done = passes_done(program)
    assert done <= program_cost(program, 1) <= done + 4


def test_cost_grows_with_the_square_of_the_text() -> None:
    program = parse_or_raise("3 first + 1 newest(noun, 4)")
    assert program_cost(program, 200) == 4 * program_cost(program, 100) > 0


def test_shared_parts_are_counted_once() -> None:
    one = passes_bound("near(after(same_word), 8)")
    two = passes_bound("when noun: near(after(same_word), 8); near(after(same_word), 8)")
    other = passes_bound("when noun: near(after(same_word), 8); near(after(same_lemma), 8)")
    assert one < two < other
    assert other - two >= PRIMITIVES["near"].cost + PRIMITIVES["same_lemma"].cost


def test_too_costly() -> None:
    costly = parse_or_raise("; ".join(f"when {c}: {part_sum(c)}" for c in GUARDS) + "; first")
    check_cost(costly, 100)
    with pytest.raises(InputError, match=r"too_costly: [0-9,]+ operations on a text of 2,048"):
        check_cost(costly, limits.MAX_SEQUENCE_TOKENS)


def test_nothing_that_people_write_is_too_costly() -> None:
    """Every example at 1,024 tokens, and all of a mixture's parts fading, at the longest text."""
    for text in examples():
        tree = parse(text)
        if isinstance(tree, Node):
            check_cost(tree, 1024)
    faded = " + ".join(f"{k} near({c}, {k})" for k, c in enumerate(CLASSES, 1))
    check_cost(parse_or_raise(f"{faded} + 1 first + 1 self"), limits.MAX_SEQUENCE_TOKENS)


def test_the_worst_programs_are_allowed_and_no_longer_one_is() -> None:
    worst = list(candidates(1024))
    assert len(worst) > 10
    for text in worst:
        check_cost(parse_or_raise(text), 1024)
    assert max(program_cost(parse_or_raise(t), 1024) for t in worst) > 0.95 * MAX_COST


MAX_COST = limits.MAX_EVALUATION_COST
CLASSES = ("noun", "verb", "name", "stop", "content", "comma")
GUARDS = ("noun", "verb", "name", "stop")


def part_sum(of: str) -> str:
    return " + ".join(f"{k} newest({of}, {k})" for k in range(1, limits.MAX_PARTS + 1))


def test_canonical_form_of_the_dearest_program_costs_no_more() -> None:
    program = parse_or_raise("; ".join(f"when {c}: {part_sum(c)}" for c in GUARDS) + "; first")
    assert program_cost(canonical(program), 1) <= program_cost(program, 1)
