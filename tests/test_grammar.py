"""The language's form: parser, printer, canonical rules, derived files."""

from itertools import combinations, islice

import pytest
from hypothesis import given, settings

from grammar.canonical import RULES, canonical, canonical_text, content_hash
from grammar.grammar_file import PATH, grammar_text
from grammar.parser import parse, parse_or_raise
from grammar.primitives import PRIMITIVES
from grammar.printer import to_text
from grammar.rejection import Rejection
from grammar.tree import Node
from tests.strategies import programs


def test_the_grammar_file_is_fresh() -> None:
    assert PATH.read_text(encoding="utf-8") == grammar_text()


@settings(max_examples=300, deadline=None)
@given(programs())
def test_canonical_text_and_tree_are_in_bijection(program: Node) -> None:
    simpler = canonical(program)
    text = to_text(simpler)
    assert parse(text) is simpler
    assert canonical(simpler) is simpler
    assert canonical_text(text) == text
    assert to_text(parse_or_raise(to_text(program))) == to_text(program)


@pytest.mark.parametrize("primitive", PRIMITIVES.values(), ids=lambda p: p.name)
def test_examples_are_canonical(primitive) -> None:
    assert canonical_text(primitive.example) == primitive.example


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30 first + 20 first", "first"),
        ("20 noun + 30 noun + 10 verb", "5 noun + 1 verb"),
        ("not not_noun", None),
        ("not (noun or verb)", "not noun and not verb"),
        ("verb or noun or verb", "noun or verb"),
        # Negated inward, the group would need parentheses inside its parentheses.
        (
            "name and not (name and noun or verb) and noun",
            "name and not (name and noun or verb) and noun",
        ),
        ("noun or noun and verb", "noun"),
        ("noun or not noun", "any"),
        ("recent(any, 3)", "back(3)"),
        ("first(any)", "first"),
        ("recent(noun, 1)", "recent(noun)"),
        ("near(not any, 8)", "first"),
        ("score(1.0 noun + 0.5 noun - 0.2 any)", "score(1.5 noun)"),
        ("score(0.0 noun)", "any"),
        ("when any: self; first", "self"),
        ("when noun: first; first", "first"),
        ("when noun: self; when noun: back(1); first", "when noun: self; first"),
        ('word("The")', 'word("The")'),
        ('lemma("The")', 'lemma("the")'),
        ("not query(noun)", "query(not noun)"),
        ("query(verb) or self or query(noun)", "query(noun or verb) or self"),
        ("query(any) and noun", "noun"),
        ("query(not any)", "first"),
        ("99 self + 99 self + 1 first", "99 self + 99 self + 1 first"),
    ],
)
def test_canonical_forms(text: str, expected: str | None) -> None:
    result = canonical_text(text)
    assert (None if isinstance(result, Rejection) else result) == expected


def test_a_canonical_form_keeps_the_limits() -> None:
    """To move negations inward takes nodes."""
    classes = ("noun", "verb", "number", "stop", "comma", "quote", "capital", "digit")
    some = (f"1 not ({' or '.join(three)})" for three in combinations(classes, 3))
    mixtures = [" + ".join(islice(some, 8)) for _ in range(5)]
    rules = [f"when {kind}: {m}" for kind, m in zip(classes[1:5], mixtures[1:], strict=True)]
    text = "; ".join([*rules, mixtures[0]])
    assert isinstance(parse(text), Node)
    found = canonical_text(text)
    assert isinstance(found, Rejection)
    assert found.code == "too_large"


def test_every_rule_states_its_algebra() -> None:
    assert all(rule.__doc__ for rule in RULES)


def test_content_hash_is_pinned() -> None:
    # A stored library would become unreadable if this changed.
    assert content_hash("first") == "4b475cbf4bfee115"


@pytest.mark.parametrize(
    ("text", "code", "column", "hint"),
    [
        ("", "empty", 1, ""),
        ("previous(1)", "unknown_name", 1, "back(1)"),
        ("30 first + 20 previous", "unknown_name", 15, "back(1)"),
        ("0.5 first + 0.5 self", "syntax", 1, "whole numbers"),
        ("first + back(1)", "syntax", 6, "weight"),
        ("word(the)", "syntax", 6, "double quotes"),
        ("30  first", "syntax", 4, "one space"),
        ("Noun", "syntax", 1, "small letters"),
        ("30 first + ", "incomplete", 12, ""),
        ("when noun: first", "incomplete", 17, "the last rule has no `when`"),
        ("when noun: first(noun", "incomplete", 22, ""),
        ("60 first+40 self", "syntax", 9, "one space"),
        ("near(noun,8)", "syntax", 10, "one space"),
        ("near(noun)", "syntax", 10, "`near(noun, 8)`"),
        ("near(first, 3)", "syntax", 6, "`near(noun, 8)`"),
        ("recent(noun, 0)", "syntax", 14, "1 to 99"),
        ("when back(1): self; first", "syntax", 6, "a guard"),
        ("noun and verb and name and any", "syntax", 23, "at most 3"),
        ("first(noun) and verb", "syntax", 12, "a way to select"),
        ("noun and", "syntax", 5, "missing after `and`"),
        ("score(2 noun)", "syntax", 7, "one digit after the point"),
        ("score(2.0 noun + 3 verb)", "syntax", 18, "one digit after the point"),
        ("back(100)", "syntax", 8, "1 to 99"),
        ("nuon", "unknown_name", 1, "noun"),
        ("first\x00", "syntax", 6, ""),
        ("first\ud800", "syntax", 6, ""),
        ("(" * 500, "syntax", 2, ""),
        ("9" * 3000, "too_long", 2001, ""),
        ("__import__", "syntax", 1, ""),
        ("nоun", "syntax", 1, ""),  # a Cyrillic letter
    ],
)
def test_rejections(text: str, code: str, column: int, hint: str) -> None:
    result = parse(text)
    assert isinstance(result, Rejection)
    assert (result.code, result.column) == (code, column), result
    assert hint in result.hint if hint else not result.hint
    result.render(text).encode()
