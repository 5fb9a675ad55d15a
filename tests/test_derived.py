"""Files derived from the declarations are fresh; the prompt is what a person last looked at."""

from pathlib import Path

import pytest

from grammar.canonical import canonical_text
from grammar.language_reference import PATH, rendered
from grammar.parser import parse, parse_or_raise
from grammar.primitives import PRIMITIVES
from grammar.rejection import SYNONYMS, Rejection
from interpreter.evaluate import Evaluator
from interpreter.facts import make_facts
from interpreter.texts import load_texts
from interpreter.tokens import read_tokens
from synth.prompt import EXAMPLES, PromptWriter, vocabulary
from tests.tiny_models import tokenizer

GOLDEN = Path(__file__).parent / "fixtures" / "prompt.txt"


def test_the_language_reference_is_fresh() -> None:
    page = PATH.read_text(encoding="utf-8")
    assert rendered(page) == page
    assert all(f"`{primitive.signature}`" in page for primitive in PRIMITIVES.values())


def test_programs_in_the_reference_are_programs() -> None:
    page = PATH.read_text(encoding="utf-8").split("## One space")[0]
    shown = [
        line.split("`")[1]
        for line in page.splitlines()
        if line.startswith("| `") and "P" not in line.split("`")[1]
    ]
    programs = [
        s
        for s in shown
        if "k" not in s.split("(")[-1]
        and '"w"' not in s
        and s[3:4] != "_"
        and not s.startswith("MAX")
    ]
    assert len(programs) > 40
    for program in programs:
        assert not isinstance(parse(program), Rejection), program


def test_hints_name_programs_that_exist() -> None:
    suggestions = {hint for hint in SYNONYMS.values() if "`" not in hint}
    for hint in suggestions:
        assert not isinstance(canonical_text(hint), Rejection), hint


@pytest.mark.parametrize("example", EXAMPLES)
def test_prompt_examples_are_canonical(example: str) -> None:
    assert canonical_text(example) == example


def test_a_causal_model_is_not_told_of_keys_ahead() -> None:
    assert "ahead" not in vocabulary(causal=True)
    assert "next(" not in vocabulary(causal=True)
    assert "ahead" in vocabulary(causal=False)


def test_the_prompt_is_the_golden_one(tagger) -> None:
    """To accept a change: look at the new prompt, then write it to tests/fixtures/prompt.txt."""
    tokens = read_tokens(load_texts("stories").documents[:4], tokenizer(), tagger, 64)
    evaluator = Evaluator(make_facts(tokens, causal=True))
    pattern = evaluator.matrices(parse_or_raise("near(after(same_token), 32)"))
    prompt = PromptWriter(evaluator, tokens).prompt(pattern)
    assert prompt.messages[-2] == ("assistant", "7 first + 3 near(after(same_token), 32)")
    assert prompt.text() + "\n" == GOLDEN.read_text(encoding="utf-8")
