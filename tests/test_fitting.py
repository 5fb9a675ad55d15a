"""Fitting finds constants that are known, keeps what is needed and drops what is not."""

import pytest
import torch

from grammar.canonical import canonical
from grammar.parser import parse_or_raise
from grammar.printer import to_text
from grammar.tree import Node
from interpreter.evaluate import Evaluator
from interpreter.facts import make_facts
from interpreter.scores import iou
from interpreter.texts import load_texts
from interpreter.tokens import read_tokens
from synth.constants import Constants, Features
from synth.fitting import Fitter
from synth.growing import Grower, pool_of
from tests.tiny_models import tokenizer


@pytest.fixture(scope="module")
def evaluator(tagger) -> Evaluator:
    tokens = read_tokens(load_texts("stories").documents[:6], tokenizer(), tagger, 48)
    return Evaluator(make_facts(tokens, causal=True))


def program(text: str) -> Node:
    return canonical(parse_or_raise(text))


@pytest.mark.parametrize(
    ("truth", "start"),
    [
        ("70 first + 20 back(1) + 10 noun", "1 first + 1 back(1) + 1 noun"),
        ("60 self + 40 first", "1 self + 1 first + 1 verb + 1 back(9)"),
        (
            "when noun: 80 self + 20 first; 70 first + 30 back(1)",
            "when noun: 1 self + 1 first; 1 first + 1 back(1)",
        ),
        ("score(3.0 first + 2.0 noun)", "score(1.0 first + 1.0 noun)"),
        (
            "60 first + 40 score(2.0 noun - 1.0 distance(any))",
            "1 first + 1 score(0.1 noun - 0.1 distance(any))",
        ),
    ],
)
def test_known_constants_are_found(evaluator: Evaluator, truth: str, start: str) -> None:
    target = evaluator.matrices(program(truth))
    fitter = Fitter(evaluator)
    fitted = fitter.fit(program(start), target)
    assert fitter.score(fitted, target) > 0.97, to_text(fitted)
    assert fitted.size <= program(truth).size
    assert fitted is canonical(fitted)


def test_a_part_that_finds_nothing_reads_as_the_sink(evaluator: Evaluator) -> None:
    target = evaluator.matrices(program("first"))
    fitted = Fitter(evaluator).fit(program('3 first(word("zzz")) + 1 noun'), target)
    assert to_text(fitted) == "first"


def test_growing_finds_the_missing_part(evaluator: Evaluator) -> None:
    target = evaluator.matrices(program('60 first + 40 first(word("the"))'))
    pool = pool_of([program('1 last(word("the")) + 1 noun')])
    fitter = Fitter(evaluator)
    grown = Grower(fitter, evaluator, pool).grow(program("first"), target)
    assert 'first(word("the"))' in to_text(grown[-1])
    assert fitter.score(grown[-1], target) > 0.97


def test_gradient_path_and_evaluator_agree(evaluator: Evaluator) -> None:
    tree = program("when stop: 3 first + 1 self; 50 first + 50 score(1.5 noun - 0.5 distance(any))")
    constants = Constants(tree)
    found = Features(constants, evaluator).matrices(constants)
    torch.testing.assert_close(found, evaluator.matrices(tree))
    assert iou(evaluator.matrices(tree), evaluator.matrices(tree)).min() > 0.9999
