"""What a trial says a changed program overlaps is what the changed program overlaps."""

from dataclasses import replace

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from grammar.parser import parse_or_raise
from grammar.printer import to_text
from grammar.token_facts import Token
from grammar.tree import Node
from interpreter import evaluate
from interpreter.evaluate import Evaluator
from interpreter.facts import make_facts
from interpreter.trials import Trials
from synth.reshaping import _overlap_with_guards, _overlaps_by_rule, _place, _spots, _with_selection
from tests.strategies import selections, token_lists

PLAIN = Token(0, "", "", 0, "", "", "", 0, 0, False, False, 0, False, False, False, False)
SHAPES = (
    "60 first + 40 {0}",
    "{0}",
    "when noun: {0}; 3 {1} + 1 self",
    "score(2.0 {0} - 1.5 {1} + 0.7 first)",
    "score(-9.9 any - 9.9 not {2} - 9.9 distance(any) - 9.9 near(any, 60) + 1.0 {0})",
    "when {2}: 3 score(-1.0 {0}); 2 score(1.5 {1} + 2.5 {0}) + 1 {1}",
)


@pytest.mark.parametrize("compiled", [True, False])
@settings(max_examples=100, deadline=None)
@given(
    shape=st.sampled_from(SHAPES),
    terms=st.lists(selections(), min_size=3, max_size=3),
    guard=st.sampled_from(["noun", "stop", "verb or stop"]),
    batch=st.lists(token_lists(), min_size=1, max_size=3),
    causal=st.booleans(),
    seed=st.integers(0, 9),
)
# What stands beside the key that is picked is far smaller than what is lost there.
@example(
    shape=SHAPES[4],
    terms=[parse_or_raise(t).children[0].children[0].children[0] for t in ("any", "self", "any")],
    guard="stop",
    batch=[[PLAIN], [replace(PLAIN, text="."), PLAIN]],
    causal=False,
    seed=0,
)
def test_a_trial_is_the_changed_program(
    compiled: bool,
    shape: str,
    terms: list[Node],
    guard: str,
    batch: list[list[Token]],
    causal: bool,
    seed: int,
) -> None:
    program = parse_or_raise(shape.format(to_text(terms[0]), to_text(terms[1]), guard))
    facts = make_facts(batch, causal=causal)
    noise = torch.rand(facts.visible.shape, generator=torch.Generator().manual_seed(seed)) ** 3
    target = (noise + 0.01) * facts.visible
    target = target / target.sum(-1, keepdim=True).clamp_min(1e-9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "COMPILED", compiled)
        evaluator = Evaluator(facts)
    assert (evaluator.mixer is not None) is compiled
    now = evaluator.matrices(program)
    for spot in _spots(program, evaluator):
        trials = Trials(evaluator, _place(program, spot, evaluator, now), target)
        for other in (spot.selection, terms[2]):
            changed = evaluator.matrices(_with_selection(program, spot, other))
            expected = float(torch.minimum(changed, target).sum())
            assert trials.overlap(other) == pytest.approx(expected, abs=1e-4, rel=1e-4)
    overlaps = _overlaps_by_rule(program, evaluator, target)
    *guarded, last = program.children
    guards = [rule.children[0] for rule in guarded]
    other = Node("not", Node("comma"))
    for number in range(len(guards)):
        guards[number] = other
        pairs = zip(guards, guarded, strict=True)
        rules = [Node("when", guard, rule.children[1]) for guard, rule in pairs]
        changed = evaluator.matrices(Node("program", *rules, last))
        expected = float(torch.minimum(changed, target).sum())
        found = _overlap_with_guards(guards, evaluator, overlaps)
        assert found == pytest.approx(expected, abs=1e-4, rel=1e-4)
