"""Files derived from the declarations are fresh; the prompt is what a person last looked at."""

import pytest

from grammar.canonical import canonical_text
from grammar.language_reference import PATH, rendered
from grammar.parser import parse
from grammar.primitives import PRIMITIVES
from grammar.rejection import SYNONYMS, Rejection
from synth.prompt import EXAMPLES, vocabulary
from synth.refining import START
from synth.summary import TRIVIAL
from tests.golden_prompt import PATH as GOLDEN
from tests.golden_prompt import golden_prompt


def test_the_language_reference_is_fresh() -> None:
    page = PATH.read_text(encoding="utf-8")
    assert rendered(page) == page
    assert all(f"`{primitive.signature}`" in page for primitive in PRIMITIVES.values())


def test_programs_in_the_reference_are_programs() -> None:
    page = PATH.read_text(encoding="utf-8").split("## One text for each meaning")[0]
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
    prompt = golden_prompt()
    assert prompt.text() + "\n" == GOLDEN.read_text(encoding="utf-8")
    *examples, told, best, feedback = prompt.messages
    # An example from the library, which is nearer than all others, stands last.
    assert examples[-1] == ("assistant", "9 near(after(same_token), 16) + 1 back(1)")
    assert best == ("assistant", "8 first + 2 recent(comma)")
    assert "after(same_token) 100%" in told[1]
    assert "too much" in feedback[1]
    assert prompt.tried[0].text == "9 near(after(same_token), 16) + 1 back(1)"
    assert [a.iou for a in prompt.tried] == sorted((a.iou for a in prompt.tried), reverse=True)


def test_the_texts_that_searches_start_from_are_canonical() -> None:
    assert [t for t in (START, *EXAMPLES, *TRIVIAL) if canonical_text(t) != t] == []
