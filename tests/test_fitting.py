"""Fitting finds constants that are known, keeps what is needed and drops what is not."""

import pytest
import torch

from grammar.canonical import canonical
from grammar.parser import parse_or_raise
from grammar.primitives import PRIMITIVES
from grammar.printer import to_text
from grammar.tree import Node
from interpreter.evaluate import Evaluator
from interpreter.facts import make_facts
from interpreter.scores import iou
from interpreter.texts import load_texts
from interpreter.tokens import read_tokens
from synth import vocabulary
from synth.constants import Constants, Features
from synth.fitting import Fitter
from synth.growing import MAX_TERMS, Grower
from synth.library_view import terms
from synth.reshaping import Reshaper
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


@pytest.fixture(scope="module")
def grower(evaluator: Evaluator) -> Grower:
    selections = ['first(word("the"))', "noun", "back(1)", "near(stop, 8)", "first"]
    return Grower.over(
        Fitter(evaluator),
        [vocabulary.term(text) for text in selections],
        [vocabulary.term(text) for text in ("noun", "stop", "distance(any)", "first")],
        [vocabulary.term(text) for text in ("noun", "stop", "comma")],
    )


@pytest.mark.parametrize(
    ("truth", "start"),
    [
        ('60 first + 40 first(word("the"))', "first"),
        ("50 first + 30 back(1) + 20 near(stop, 8)", "first"),
        ("score(3.0 first + 2.0 noun - 0.5 distance(any))", "score(1.0 first)"),
        ("when stop: back(1); first", "first"),
        ("when stop: back(1); when noun: 1 first + 1 near(stop, 8); first", "first"),
    ],
)
def test_growing_finds_what_is_missing(
    grower: Grower, evaluator: Evaluator, truth: str, start: str
) -> None:
    target = evaluator.matrices(program(truth))
    fitter = Fitter(evaluator)
    grown = grower.grow(program(start), target)
    scores = [fitter.score(p, target) for p in grown]
    assert scores == sorted(scores)
    assert scores[-1] > 0.97, [to_text(p) for p in grown]
    assert terms(fitter.fit(grown[-1], target)) <= terms(program(truth)) + 1


def test_growing_ends_where_nothing_is_missing(grower: Grower, evaluator: Evaluator) -> None:
    tree = program("60 first + 40 back(1)")
    assert grower.grow(tree, evaluator.matrices(tree)) == []


def test_growing_keeps_to_the_limit_of_terms(grower: Grower, evaluator: Evaluator) -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(evaluator.sink.shape, generator=generator) * evaluator.facts.visible
    target = noise / noise.sum(-1, keepdim=True).clamp_min(1e-9)
    grown = grower.grow(program("first"), target)
    assert grown
    assert all(terms(p) <= MAX_TERMS for p in grown)
    assert all(canonical(p) is p for p in grown)


def test_the_vocabulary_uses_every_primitive(evaluator: Evaluator) -> None:
    used = {
        node.op
        for causal in (True, False)
        for pool in (vocabulary.selections, vocabulary.scores, vocabulary.logits)
        for selection in pool([], causal=causal)
        for node in selection.walk()
    }
    assert {p.name for p in PRIMITIVES.values()} - used <= {"word", "lemma"}


def test_gradient_path_and_evaluator_agree(evaluator: Evaluator) -> None:
    tree = program("when stop: 3 first + 1 self; 50 first + 50 score(1.5 noun - 0.5 distance(any))")
    constants = Constants(tree)
    found = Features(constants, evaluator).matrices(constants)
    torch.testing.assert_close(found, evaluator.matrices(tree))
    assert iou(evaluator.matrices(tree), evaluator.matrices(tree)).min() > 0.9999


@pytest.fixture(scope="module")
def reshaper(evaluator: Evaluator) -> Reshaper:
    names = ("noun", "verb", "same_sentence", "newline")
    predicates = [vocabulary.term(name) for name in names]
    guards = [vocabulary.term(name) for name in ("noun", "verb")]
    return Reshaper(Fitter(evaluator), evaluator.facts, predicates, guards)


@pytest.mark.parametrize(
    ("start", "truth"),
    [
        ("60 first + 40 noun", "60 first + 40 noun or verb"),
        ("60 first + 40 noun", "60 first + 40 noun and same_sentence"),
        ("60 self + 40 near(noun, 2)", "60 self + 40 near(noun and query(verb), 2)"),
        ("60 self + 40 first(noun)", "60 self + 40 earliest(noun, 2)"),
        ("score(3.0 first + 2.0 noun)", "score(3.0 first + 2.0 noun or verb)"),
        ("when noun: self; first", "when noun or verb: self; first"),
        ("when noun or verb: self; first", "when verb: self; first"),
    ],
)
def test_reshaping_finds_what_a_term_should_say(
    reshaper: Reshaper, evaluator: Evaluator, start: str, truth: str
) -> None:
    target = evaluator.matrices(program(truth))
    steps = reshaper.reshape(program(start), target)
    scores = [float(iou(target, evaluator.matrices(p)).mean()) for p in steps]
    assert scores == sorted(scores)
    assert scores[-1] > 0.98, to_text(steps[-1])
    assert all(terms(p) <= terms(program(start)) for p in steps)
    assert all(p is canonical(p) and parse_or_raise(to_text(p)) is p for p in steps)


def test_what_needs_no_change_is_left(reshaper: Reshaper, evaluator: Evaluator) -> None:
    whole = program("60 first + 40 noun and same_sentence")
    assert reshaper.reshape(whole, evaluator.matrices(whole)) == []
