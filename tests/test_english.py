"""A program explains itself: golden sentences, and one for every program."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings

from grammar.canonical import canonical, canonical_text
from grammar.english import MAX_CHARACTERS, sentence
from grammar.parser import parse_or_raise
from grammar.primitives import PRIMITIVES
from grammar.tree import Node
from tests.strategies import programs

LINES = (Path(__file__).parent / "fixtures" / "sentences.txt").read_text(encoding="utf-8")
GOLDEN = [line.split("\t") for line in LINES.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize(("program", "expected"), GOLDEN, ids=[program for program, _ in GOLDEN])
def test_golden_sentences(program: str, expected: str) -> None:
    """To accept a change: read the new sentence aloud, then write it to the fixture."""
    assert canonical_text(program) == program
    assert sentence(parse_or_raise(program)) == expected


@settings(max_examples=300, deadline=None)
@given(programs())
def test_every_program_has_a_sentence(program: Node) -> None:
    for tree in (program, canonical(program)):
        told = sentence(tree)
        assert len(told) <= MAX_CHARACTERS
        assert told.isprintable()
        assert told[0] == told[0].upper()
        assert told.endswith(".")
        plain = re.sub("“.*?”", "W", told)
        assert not re.search(r"[{}]|\(s\)|\(y/|  | ,|None|\b(an? the|the the|of of)\b", plain), told
        assert sentence(tree) == told


@pytest.mark.parametrize("primitive", PRIMITIVES.values(), ids=lambda p: p.name)
def test_every_primitive_is_told_apart(primitive) -> None:
    told = sentence(parse_or_raise(primitive.example))
    others = {sentence(parse_or_raise(p.example)) for p in PRIMITIVES.values() if p != primitive}
    assert told not in others


def test_a_large_program_is_cut_where_it_says_so() -> None:
    part = 'near(word("considerably") and not same_sentence, 12)'
    parts = " + ".join(f"{weight} {part.replace('12', str(weight))}" for weight in range(12, 4, -1))
    assert sentence(parse_or_raise(parts)).endswith("; and smaller parts.")
    guards = ("noun", "verb", "comma", "newline")
    few = " + ".join(parts.split(" + ")[:3])
    rules = "; ".join(f"when {guard}: {few}" for guard in guards)
    assert sentence(parse_or_raise(f"{rules}; {few}")).startswith("Apart from 4 kinds of query: ")
    short = "3 near(noun, 12) + 2 near(verb, 12)"
    rules = "; ".join(f"when {guard}: {short}" for guard in guards)
    assert " Elsewhere, apart from " in sentence(parse_or_raise(f"{rules}; {short} + 1 self"))
    words = " or ".join(f'word("{letter * 24}")' for letter in "abc")
    many = " or ".join(f"after({words})" for _ in range(3))
    assert sentence(parse_or_raise(many)).endswith(" … and more.")
