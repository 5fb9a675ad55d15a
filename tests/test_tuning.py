"""Growing by output error and tuning in the model: known programs are found, divergence falls."""

from typing import Any

import pytest
import torch

from grammar.canonical import canonical
from grammar.parser import parse_or_raise
from grammar.printer import to_text
from grammar.tree import Node
from interpreter.capture import Captured
from interpreter.evaluate import Evaluator
from interpreter.models import load_spacy
from interpreter.rows import FactsOf, rows_for
from interpreter.scores import output_error
from interpreter.texts import Texts, load_texts
from interpreter.tokens import encode, tag
from synth import output_growing
from synth.output_growing import OutputGrower, Richness, _greedy
from synth.tuning import (
    LEARNING_RATE,
    SHARES,
    STEP_SHARES,
    STEPS,
    Tuner,
    learning_rate,
    shares_of_steps,
)
from synth.vocabulary import said
from tests.replacing import PROGRAMS
from tests.tiny_models import tiny

pytestmark = pytest.mark.usefixtures("tagger")

STORIES = load_texts("stories").documents
POOL = said([parse_or_raise(t) for t in ("noun", "stop", "any", "back(1)", "self", "verb")])


def tree(text: str) -> Node:
    return canonical(parse_or_raise(text))


@pytest.mark.parametrize("facts_of", ["prefix", "text"])
@pytest.mark.parametrize(
    "truth",
    [
        "70 first + 20 back(1) + 10 noun",
        "60 near(verb, 8) + 40 self",
        "when content: 80 self + 20 first; 70 first(noun) + 30 back(1)",
    ],
)
def test_a_known_program_is_grown(truth: str, facts_of: FactsOf) -> None:
    loaded, tagger = tiny("llama"), load_spacy()
    encoded = encode(STORIES[:4], loaded.tokenizer, 32)
    rows = rows_for(loaded, tagger, facts_of, encoded, "cpu")
    matrices = rows.placed(Evaluator(rows.facts).matrices(tree(truth)))
    values = torch.randn(4, 1, 32, 8, generator=torch.Generator().manual_seed(0))
    patterns = Captured(((0, 0),), tag(encoded, tagger), matrices[:, None], values, True)
    grower = OutputGrower(patterns, rows, POOL)
    grown = grower.grow((0, 0), Richness())
    found = rows.placed(Evaluator(rows.facts).matrices(grown))
    assert output_error(matrices, found, values[:, 0]).mean() < 0.02, to_text(grown)
    plain = grower.grow((0, 0), Richness(parts=1, guards=False))
    assert len(plain.children) == 1
    assert len(plain.children[0].children) == 1


def test_a_program_that_would_be_too_long_has_fewer_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, tagger = tiny("llama"), load_spacy()
    encoded = encode(STORIES[:4], loaded.tokenizer, 32)
    rows = rows_for(loaded, tagger, "text", encoded, "cpu")
    truth = rows.placed(Evaluator(rows.facts).matrices(tree("40 first + 30 back(1) + 30 noun")))
    values = torch.randn(4, 1, 32, 8, generator=torch.Generator().manual_seed(0))
    patterns = Captured(((0, 0),), tag(encoded, tagger), truth[:, None], values, True)
    grower, richness = OutputGrower(patterns, rows, POOL), Richness(guards=False)
    whole = to_text(grower.grow((0, 0), richness))
    monkeypatch.setattr(output_growing, "LONGEST", len(whole) - 1)
    shorter = grower.grow((0, 0), richness)
    assert len(to_text(shorter)) < len(whole)
    assert len(shorter.children[0].children) < whole.count("+") + 1


def tuner(family: str, order: Any) -> Tuner:
    loaded = tiny(family)
    return Tuner(loaded, Texts("few", STORIES[:6]), order, 24, "prefix")


def test_divergence_falls_and_going_on_is_the_same_as_not_stopping(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("synth.tuning.STEPS", 16)
    programs = {head: tree(program) for head, program in PROGRAMS.items()}
    order = list(programs)
    one = tuner("llama", order)
    before = one.divergences(programs)
    steps: list[int] = []
    first = one.tuned(programs, 0, lambda: steps.append(1))
    second = one.tuned(first, 1, lambda: None)
    assert len(steps) == 16
    after = one.divergences(second)
    assert all(new < old for new, old in zip(after, before, strict=True))
    assert before == sorted(before)
    assert len(before) == len(SHARES)
    again = tuner("llama", order)
    stored = {head: parse_or_raise(to_text(program)) for head, program in first.items()}
    assert again.tuned(stored, 1, lambda: None) == second


def test_steps_begin_small_and_are_smaller_in_every_round() -> None:
    rounds = [[learning_rate(number, step) for step in range(STEPS)] for number in range(4)]
    for rates in rounds:
        assert 0 < rates[0] < rates[1] < max(rates)
        assert 0 < rates[-1] < rates[0]
    peaks = [max(rates) for rates in rounds]
    assert peaks == sorted(peaks, reverse=True)
    assert peaks[0] <= LEARNING_RATE < 1.1 * peaks[0]


@pytest.mark.parametrize("batches", range(1, 31))
def test_every_batch_meets_every_share(batches: int) -> None:
    """As often in every round as the shares are listed, and in any number of batches."""
    met: dict[int, list[float]] = {batch: [] for batch in range(batches)}
    for number in range(12):
        shares = shares_of_steps(number)
        assert len(shares) == STEPS
        for share in SHARES:
            wanted = STEPS * STEP_SHARES.count(share) / len(STEP_SHARES)
            assert abs(shares.count(share) - wanted) < 2
        for step, share in enumerate(shares):
            met[(number * STEPS + step) % batches].append(share)
    assert all(max(found) == 1 and min(found) <= 0.25 for found in met.values())
    assert batches > 10 or all(set(found) == set(SHARES) for found in met.values())


def test_a_late_round_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synth.tuning.STEPS", 6)
    programs = {head: tree(program) for head, program in PROGRAMS.items()}
    one = tuner("llama", list(programs))
    first = one.tuned(programs, 0, lambda: None)
    assert first != programs
    assert one.tuned(first, 100, lambda: None) == first


def test_a_part_that_is_dropped_again_ends_the_growth() -> None:
    """It takes much off the error with a weight that is too small to keep."""
    features = torch.tensor([[10.0, 0.0], [10.0, 1000.0]])
    chosen, weights = _greedy(features, torch.tensor([10.0, 2.0]), torch.zeros(2), 4)
    assert (chosen, weights) == ([0], [1.0])
