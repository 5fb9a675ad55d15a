"""`headscript score`: damage, and scores that are kept in the library."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from grammar.parser import parse_or_raise
from interpreter.command_line import main
from interpreter.models import load_model
from interpreter.texts import Texts, load_texts
from synth.library import Library
from synth.library_view import listed_heads
from synth.ordering import Judged, damages
from tests.replacing import PROGRAMS, library_for, model_folder

pytestmark = pytest.mark.usefixtures("tagger")

STORIES = load_texts("stories").documents[:8]
SHA256 = Texts("texts.jsonl", STORIES).sha256
TOKENS = 24


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("llama"))


@pytest.fixture
def library(model: Path, tmp_path: Path) -> Path:
    """Its programs were made from the texts."""
    return library_for(tmp_path / "l.sqlite", model, PROGRAMS, texts_sha256=SHA256)


@pytest.fixture
def arguments(library: Path, model: Path, tmp_path: Path) -> list[str]:
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in STORIES))
    named = ["--library", str(library), "--model", str(model), "--texts", str(texts)]
    return ["score", *named, "--max-tokens", str(TOKENS)]


def answer(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_table_holds_whole_programs(arguments: list[str]) -> None:
    """However narrow: what is copied from it has to run."""
    shown = CliRunner().invoke(main, arguments, env={"COLUMNS": "60"}).stdout
    rows = [row.split("│") for row in shown.splitlines() if row.startswith("│")]
    words = "".join("".join(row[2].split()) for row in rows)
    for head in answer(*arguments)["heads"]:
        assert "".join(head["program"].split()) in words


def test_nothing_is_kept_unless_asked(library: Path, arguments: list[str]) -> None:
    found = answer(*arguments)
    assert [head["damage"] for head in found["heads"]] == [None] * len(PROGRAMS)
    with Library.open(library) as opened:
        assert opened.scores() == []


def test_kept_scores_are_those_of_the_test_documents(library: Path, arguments: list[str]) -> None:
    found = answer(*arguments, "--keep")
    test = Texts("texts.jsonl", STORIES).split()["test"]
    assert found["texts"]["sha256"] == test.sha256
    with Library.open(library) as opened:
        kept = opened.scores()
        listed = listed_heads(opened)
    assert {(s.texts_sha256, s.split, s.documents) for s in kept} == {(SHA256, "test", 2)}
    assert [h.iou for h in listed] == [head["iou"] for head in found["heads"]]
    assert [h.split for h in listed] == ["test"] * len(PROGRAMS)
    for score, head in zip(listed, found["heads"], strict=True):
        assert (score.jsd, score.output_error) == (head["jsd"], head["output_error"])
    assert all(set(s.per_document()) == {"iou", "iou_no_sink", "jsd", "output_error"} for s in kept)
    again = CliRunner().invoke(main, ["library", "verify", "--library", str(library)])
    assert again.exit_code == 0, again.output


def test_damage_is_that_of_each_head_alone(
    library: Path, model: Path, arguments: list[str]
) -> None:
    found = answer(*arguments, "--damage", "--keep")
    trees = {head: parse_or_raise(text) for head, text in PROGRAMS.items()}
    test = Texts("texts.jsonl", STORIES).split()["test"]
    expected = damages(Judged(load_model(str(model)), trees, {}, test, TOKENS, "prefix"))
    told = {(h["layer"], h["head"]): h["damage"] for h in found["heads"]}
    assert told == pytest.approx(expected, abs=1e-7)
    assert max(told.values()) > 0
    with Library.open(library) as opened:
        assert {(s.layer, s.head): s.damage for s in opened.scores()} == told
    answer(*arguments, "--keep")
    with Library.open(library) as opened:
        assert {(h.layer, h.head): h.damage for h in listed_heads(opened)} == told
        assert {(s.layer, s.head): s.damage for s in opened.scores()} == told
    shown = CliRunner().invoke(main, [*arguments, "--damage"], env={"COLUMNS": "200"}).output
    assert "damage" in shown


def test_an_export_keeps_nothing(library: Path, arguments: list[str]) -> None:
    export = library.with_suffix(".jsonl")
    with Library.open(library) as opened:
        export.write_text("".join(opened.lines()))
    at = arguments.index(str(library))
    result = CliRunner().invoke(
        main, [*arguments[:at], str(export), *arguments[at + 1 :], "--keep"]
    )
    assert result.exit_code == 1
    assert "library import" in result.stderr


def test_scores_of_another_length_are_not_kept(library: Path, arguments: list[str]) -> None:
    with Library.open(library) as opened:
        opened.start_run(
            key="other",
            model=arguments[arguments.index("--model") + 1],
            model_revision="r1",
            texts_sha256=SHA256,
            settings={"max_tokens": 96},
        )
    result = CliRunner().invoke(main, [*arguments, "--keep"])
    assert result.exit_code == 1
    assert "documents of 96 tokens" in result.stderr
