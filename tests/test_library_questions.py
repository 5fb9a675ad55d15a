"""Search, diff, stats, compress and categories, on libraries whose content is known."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from grammar.canonical import canonical
from grammar.errors import InputError
from grammar.parser import parse_or_raise
from grammar.primitives import PRIMITIVES
from grammar.printer import to_text
from grammar.tree import Node
from synth.categories import OF_PRIMITIVES, category, category_shares
from synth.library import Library
from synth.library_command import library as library_command
from synth.library_compress import Compressed, compress, symbols
from synth.probe import TEXTS, TOKENS, behaviours, groups_of_equals, probe_tokens
from tests.library_samples import LARGE, SMALL, chosen, small_library, start
from tests.random_programs import random_program

HEADS = {
    (0, 0): '3 first(word("the")) + 1 first',
    (0, 1): '2 first(word("the")) + 1 first',
    (0, 2): "first",
    (1, 0): "2 back(1) + 1 self",
    (1, 1): "score(2.0 after(same_token))",
    (1, 2): "first",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    small_library(tmp_path / "l.sqlite")
    with Library.open(tmp_path / "l.sqlite") as library:
        run = start(library)
        library.add_programs([*HEADS.values(), "near(within(1), 99)"])
        for (layer, head), text in HEADS.items():
            place = replace(chosen(run, text), layer=layer, head=head)
            library.set_choice(replace(place, model="other"))
    return tmp_path / "l.sqlite"


def run_command(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        library_command, [*arguments, "--library", str(path)], catch_exceptions=False
    )


def told(path: Path, *arguments: str) -> Any:
    return json.loads(run_command(path, *arguments, "--json").stdout)


def texts(path: Path, *arguments: str) -> list[str]:
    return [program["program"] for program in told(path, "search", *arguments)["programs"]]


# Search


def test_who_uses_a_part(path: Path) -> None:
    both = [HEADS[0, 1], HEADS[0, 0]]
    assert texts(path, 'first(word("the"))') == both
    assert texts(path, 'word("the")') == both
    assert texts(path, "same_token") == [HEADS[1, 1]]
    assert texts(path, "after") == [HEADS[1, 1]]
    assert set(texts(path, "first")) == {*both, "first", LARGE}
    assert texts(path, "within", "--all") == ["near(within(1), 99)"]
    assert texts(path, "within") == []
    assert texts(path, "--text", "don't") == [LARGE]
    assert texts(path, "first", "--text", "don't", "--model", "other") == []
    (shared,) = (
        p for p in told(path, "search", "--text", "first")["programs"] if p["program"] == SMALL
    )
    assert shared["heads"] == [["other", "L0H2"], ["other", "L1H2"], ["small", "L5H3"]]
    assert "L0H2" in run_command(path, "search", "first").stdout
    with pytest.raises(InputError, match="is no primitive, selection or predicate"):
        run_command(path, "search", "frist")
    assert run_command(path, "search").exit_code == 2


def test_who_behaves_alike(path: Path) -> None:
    found = told(path, "search", "--like", "L0H0")["programs"]
    assert [p["program"] for p in found[:2]] == [HEADS[0, 0], HEADS[0, 1]]
    assert found[0]["similarity"] == pytest.approx(1)
    assert 0.8 < found[1]["similarity"] < 1
    assert found[2]["similarity"] < found[1]["similarity"]
    assert texts(path, "--like", "back(1)")[0] == HEADS[1, 0]
    with pytest.raises(InputError, match="has no program"):
        run_command(path, "search", "--like", "L9H9")


# Diff


def test_diff_of_programs(path: Path) -> None:
    found = told(path, "diff", "L0H0", "L0H1")
    assert found["terms"] == [
        {"rule": "", "term": 'first(word("the"))', "one": 0.75, "other": pytest.approx(2 / 3)},
        {"rule": "", "term": "first", "one": 0.25, "other": pytest.approx(1 / 3)},
    ]
    assert told(path, "diff", SMALL, "self")["similarity"] < 0.2
    rules = {term["rule"] for term in told(path, "diff", "L5H4", "first")["terms"]}
    assert rules == {"", "noun"}
    assert "IoU on the probe batch" in run_command(path, "diff", "L0H0", "L1H0").stdout


def test_diff_of_libraries(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    small_library(other)
    with Library.open(other) as library:
        library.add_programs(["back(9)"])
        library.set_choice(chosen(start(library), "back(9)"))
    found = told(path, "diff", str(other), str(path), "--model", "small")
    assert [(h["name"], h["one"], h["other"]) for h in found["heads"]] == [
        ("L5H4", "back(9)", LARGE)
    ]
    assert (found["same_heads"], found["programs_in_one"], found["programs_in_both"]) == (1, 1, 2)


def test_revisions_of_a_model_are_told_apart(tmp_path: Path) -> None:
    """But for two libraries that hold one each: those are compared."""

    def library_of(name: str, *revisions: tuple[str, str]) -> Path:
        with Library.open(tmp_path / name, create=True) as library:
            run = start(library)
            for revision, text in revisions:
                library.add_programs([text])
                library.set_choice(replace(chosen(run, text), model_revision=revision))
        return tmp_path / name

    both = library_of("both.sqlite", ("r1", "first"), ("r2", "self"))
    found = told(both, "diff", str(both), str(both))
    assert (found["heads"], found["same_heads"]) == ([], 2)
    old = library_of("old.sqlite", ("r1", "first"))
    new = library_of("new.sqlite", ("r2", "self"))
    (head,) = told(old, "diff", str(old), str(new))["heads"]
    assert (head["one"], head["other"], head["model_revision"]) == ("first", "self", None)
    (head,) = told(both, "diff", str(both), str(new))["heads"]
    assert (head["one"], head["other"], head["model_revision"]) == ("first", None, "r1")


# Stats, and the two kinds of sameness


def test_stats(path: Path) -> None:
    found = told(path, "stats")
    assert found["programs"] == 7
    assert found["rejects"] == {"syntax": 1}
    assert found["behaviour_duplicates"] == 0
    kinds = {(layer["model"], layer["layer"]): layer["categories"] for layer in found["layers"]}
    assert kinds["other", 1] == {"positional": 1, "repetition": 1, "sink": 1}
    with Library.open(path) as library:
        library.add_programs(["near(self, 7)", "self", "back(2) and within(2)", "back(1)"])
    found = told(path, "stats")
    assert found["behaviour_groups"] == [["self", "near(self, 7)"]]
    assert found["behaviour_duplicates"] == 1
    assert "repetition" in run_command(path, "stats").stdout


def test_groups_of_equals() -> None:
    """Pairs that differ as text and mean the same; one weight that moves parts them."""
    equal = [
        ("back(1)", "within(1) and back(1)"),
        ("self", "near(self, 7)"),
        ("any", "score(0.1 any)"),
    ]
    other = ["99 first + 1 self", "98 first + 1 self", "99 first + 1 back(1)"]
    programs = [text for pair in equal for text in pair] + other
    groups = groups_of_equals([parse_or_raise(text) for text in programs])
    assert groups == [[0, 1], [2, 3], [4, 5], [6], [7], [8]]


def test_the_probe_batch() -> None:
    assert [len(tokens) for tokens in probe_tokens()] == [TOKENS] * TEXTS
    (matrices,) = behaviours([parse_or_raise("2 noun + 1 ahead(1)")])
    assert matrices.shape == (2, TEXTS, TOKENS, TOKENS)
    assert (matrices.sum(-1) - 1).abs().max() < 1e-5
    assert not torch.triu(matrices[0], 1).any()


# Categories


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("first", "sink"),
        ("first(special)", "sink"),
        ("2 back(1) + 1 near(any, 8)", "positional"),
        ("self and not comma", "positional"),
        ('first(word("the"), 2)', "lexical"),
        ("near(noun, 8)", "syntactic"),
        ("governor", "syntactic"),
        ("first(noun and same_token)", "repetition"),
        ("near(after(same_token), 99)", "repetition"),
        ("recent(stop or newline)", "punctuation"),
        ("after(comma)", "punctuation"),
        ("1 first + 1 noun", "mixed"),
        ("51 first + 49 noun", "sink"),
        ("when noun: self; first", "mixed"),
        ("score(3.0 noun - 1.0 distance(any))", "syntactic"),
    ],
)
def test_categories(program: str, expected: str) -> None:
    assert category(parse_or_raise(program)) == expected


def test_categories_of_any_program() -> None:
    assert set(OF_PRIMITIVES) <= set(PRIMITIVES)
    rng = Random(1)
    for _ in range(300):
        program = canonical(random_program(rng))
        assert sum(category_shares(program).values()) == pytest.approx(1)
        category(program)


# Compress


def expanded(compressed: Compressed, programs: Sequence[Node]) -> list[Node]:
    """The programs again, made from the definitions and what is left of each sum."""
    terms = {definition.name: definition.terms for definition in compressed.definitions}

    def whole(node: Node, sums: Any) -> Node:
        if node not in sums:
            return Node(node.op, *(whole(a, sums) if isinstance(a, Node) else a for a in node.args))
        part = sums[node]
        found = dict(part.left)
        for name, weights in part.uses:
            found |= dict(zip(terms[name], weights, strict=True))
        op = "part" if node.op == "mixture" else "logit"
        return Node(node.op, *(Node(op, w, whole(term, sums)) for term, w in found.items()))

    return [canonical(whole(p, s)) for p, s in zip(programs, compressed.sums, strict=True)]


def program_of(rng: Random) -> str:
    """A program whose terms other programs have too."""
    terms = ["first", "self", "back(1)", "near(noun, 8)", 'first(word("the"))', "noun", "stop"]

    def mixture() -> str:
        parts = [f"{rng.randint(1, 99)} {t}" for t in rng.sample(terms, rng.randint(1, 4))]
        logits = [f"{rng.choice([-2.5, 1.5])} {t}" for t in rng.sample(terms, rng.randint(1, 4))]
        return " + ".join([*parts, f"40 score({' + '.join(logits).replace('+ -', '- ')})"])

    return f"when verb: {mixture()}; {mixture()}"


def test_compression_loses_nothing() -> None:
    rng = Random(2)
    shared = [canonical(parse_or_raise(program_of(rng))) for _ in range(150)]
    programs = list({*shared, *(canonical(random_program(rng)) for _ in range(150))})
    found = compress(programs)
    assert found.definitions
    assert expanded(found, programs) == programs
    assert found.symbols_before == sum(symbols(to_text(program)) for program in programs)
    named = sum(symbols(" ".join([d.name, *map(to_text, d.terms)])) for d in found.definitions)
    assert found.symbols_after == named + sum(map(symbols, found.texts))
    assert found.symbols_after < found.symbols_before


def test_compress(path: Path) -> None:
    found = told(path, "compress", "--model", "other")
    (definition,) = found["definitions"]
    assert definition == {"name": "D1", "terms": ["first", 'first(word("the"))'], "uses": 2}
    by_text = {p["text"]: p["heads"] for p in found["programs"]}
    assert by_text["D1(1, 3)"] == [["other", "L0H0"]]
    assert by_text["first"] == [["other", "L0H2"], ["other", "L1H2"]]
    assert found["symbols_after"] < found["symbols_before"]
    assert "D1(1, 2)" in run_command(path, "compress", "--model", "other").stdout


def test_colour_can_be_turned_off(path: Path) -> None:
    for command in (["search", "first"], ["diff", "L0H0", "L0H1"], ["stats"], ["compress"]):
        result = CliRunner(env={"NO_COLOR": "1", "FORCE_COLOR": "1"}).invoke(
            library_command, [*command, "--library", str(path)], catch_exceptions=False
        )
        assert "\x1b[3" not in result.stdout


@pytest.mark.parametrize("width", [40, 80, 200])
def test_tables_fit(path: Path, width: int) -> None:
    for command in (["list"], ["search", "first"], ["diff", "L0H0", "L0H1"], ["compress"]):
        result = CliRunner(env={"COLUMNS": str(width)}).invoke(
            library_command, [*command, "--library", str(path)], catch_exceptions=False
        )
        table = [line for line in result.stdout.splitlines() if "─" in line]
        assert table
        assert max(map(len, table)) <= width
