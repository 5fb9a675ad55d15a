"""What is found for one head, where the texts that programs grow on are not like the others."""

import pytest

from grammar.canonical import canonical
from grammar.parser import parse_or_raise
from interpreter.evaluate import Evaluator
from interpreter.facts import make_facts, on_first
from interpreter.texts import load_texts
from interpreter.tokens import read_tokens
from synth import refining
from synth.fitting import Fitter
from synth.refining import START, Refiner
from tests.tiny_models import tokenizer


def test_growing_texts_may_be_shorter_than_the_rest(
    tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refining, "GROWING_TEXTS", 2)
    monkeypatch.setattr(refining, "RANKING_TEXTS", 1)
    story = load_texts("stories").documents[0]
    documents = ("The cat sat.", "The cat sat on the mat. It slept.", story)
    tokens = read_tokens(documents, tokenizer(), tagger, 32)
    evaluator = Evaluator(make_facts(tokens, causal=True))
    target = evaluator.matrices(canonical(parse_or_raise("60 first + 40 back(1)")))
    refiner = Refiner(tokens, True, (START, "first"))
    found = refiner.refined((START, "first"), target)
    assert {path.parent for path in found.paths} == set(map(parse_or_raise, (START, "first")))
    assert Fitter(evaluator).score(found.last, target) > 0.9
    assert found.programs[-1] == (found.last, found.best.parent)
    few = on_first(target, refiner.quick.evaluator.facts)
    ended = [refiner.quick.score(path.programs[-1], few) for path in found.paths]
    assert refiner.quick.score(found.best.programs[-1], few) == max(ended)
