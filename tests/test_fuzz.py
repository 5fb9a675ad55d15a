"""A few seconds of what `make fuzz` does at length, the same each time."""

from collections import Counter
from itertools import islice
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.lark import from_lark
from lark import Lark

from grammar import limits
from grammar.grammar_file import PATH
from grammar.parser import parse
from grammar.rejection import Rejection
from tests.fuzz import attack_evaluators, attack_parser, random_texts
from tests.fuzz_library import Target

GRAMMAR = Lark(PATH.read_text(encoding="utf-8"), parser="lalr")
SLOW_TO_DRAW = [HealthCheck.too_slow, HealthCheck.data_too_large]


def test_the_parser_on_mutated_programs() -> None:
    tried: Counter[str] = Counter()
    for text in islice(random_texts(Random(1)), 1000):
        attack_parser(text, tried)
    assert min(tried["accepted"], tried["syntax"], tried["unknown_name"]) > 50


@settings(max_examples=200, deadline=None)
@given(st.text() | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")))
def test_the_parser_on_anything(text: str) -> None:
    attack_parser(text, Counter())


@settings(max_examples=50, deadline=None, suppress_health_check=SLOW_TO_DRAW)
@given(from_lark(GRAMMAR))
def test_what_the_grammar_says_is_a_program(text: str) -> None:
    tree = parse(text)
    if isinstance(tree, Rejection):
        assert tree.code == (
            "too_long" if len(text) > limits.MAX_PROGRAM_CHARACTERS else "too_large"
        )
    attack_parser(text, Counter())


@pytest.mark.parametrize("seed", range(4))
def test_both_evaluators_on_random_programs(seed: int) -> None:
    attack_evaluators(Random(seed), 64)


@pytest.mark.parametrize("word", [b"CREATE TABLE programs", b"PRIMARY KEY", b"tableprograms"])
def test_a_library_whose_schema_is_not_utf_8(tmp_path: Path, word: bytes) -> None:
    target, tried = Target(tmp_path), Counter[str]()
    broken = word[:8] + b"\xe8" + word[9:]
    assert word in target.stored
    target.merge("m.sqlite", target.stored.replace(word, broken), tried)
    assert tried["refused .sqlite"] == 1


def test_the_library_on_mutated_files(tmp_path: Path) -> None:
    target, tried = Target(tmp_path), Counter[str]()
    for number in range(150):
        target.attack(Random(number), tried)
    assert min(tried["refused .jsonl"], tried["refused .sqlite"], tried["added .jsonl"]) > 5
