"""Bad input ends in one clear line and exit status 1, and what is stored stays as it was."""

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from grammar.canonical import content_hash
from interpreter.command_line import main
from interpreter.texts import load_texts
from synth.library_file import APPLICATION_ID
from synth.prompt import Prompt
from synth.proposers import Draft
from tests.tiny_models import CONTEXT, HEADS, LAYERS, tiny, tokenizer


class NoProposer:
    """Stands for the language model, and writes nothing."""

    name = "none"

    def __init__(self, model_name: str) -> None:
        pass

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        return []


@pytest.fixture(autouse=True)
def no_language_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synth.outlines_proposer.OutlinesProposer", NoProposer)


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a model, which is slow, is a failure of the test."""

    def load_model(name: str, **_: Any) -> None:
        raise AssertionError(f"{name} was loaded before the input was checked")

    monkeypatch.setattr("interpreter.models.load_model", load_model)
    monkeypatch.setattr("synth.scoring.load_model", load_model)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tagger: Any) -> dict[str, str]:
    """A causal and a bidirectional model, and texts for them."""
    made = {}
    for family in ("llama", "bert"):
        folder = tmp_path_factory.mktemp(family)
        tiny(family).model.save_pretrained(folder)
        tokenizer().save_pretrained(folder)
        made[family] = str(folder)
    texts = tmp_path_factory.mktemp("texts") / "few.jsonl"
    stories = load_texts("stories").documents[:4]
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in stories))
    return made | {"texts": str(texts)}


@pytest.fixture(scope="module")
def stored(folders: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that `synth` made: one head, and nothing but trivial programs to start from."""
    path = tmp_path_factory.mktemp("library") / "l.sqlite"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("synth.outlines_proposer.OutlinesProposer", NoProposer)
        options = ["--heads", "L1H2", "--budget", "0", "--max-tokens", "24"]
        result = CliRunner().invoke(main, [*synth(folders, path), *options])
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture
def path(stored: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoilt."""
    return Path(shutil.copy(stored, tmp_path / "l.sqlite"))


def synth(folders: dict[str, str], path: Path) -> list[str]:
    named = ["--model", folders["llama"], "--texts", folders["texts"], "--library", str(path)]
    return ["synth", *named]


def score(folders: dict[str, str], path: Path) -> list[str]:
    named = ["--model", folders["llama"], "--texts", folders["texts"], "--library", str(path)]
    return ["score", *named, "--max-tokens", "24"]


def readers(folders: dict[str, str], path: Path) -> dict[str, list[str]]:
    """Every command that reads a library."""
    named = ["--library", str(path)]
    return {
        "list": ["library", "list", *named],
        "show": ["library", "show", "L1H2", *named],
        "report": ["report", *named, "-o", str(path.with_suffix(".html"))],
        "score": score(folders, path),
    }


def refusal(*arguments: str) -> str:
    """The one line with which a command ends."""
    result = CliRunner().invoke(main, arguments)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    # What was worked on before stands above, as finished bars.
    *bars, error = result.stderr.splitlines()
    assert error.startswith("Error: ")
    assert not any("Error" in bar or "Traceback" in bar for bar in bars)
    return error + "\n"


def contents(path: Path) -> list[str]:
    """Every row of the file, as SQL."""
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def change(path: Path, *statements: str) -> list[str]:
    """What a stranger may do to a library; its contents then."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
    return contents(path)


# What comes first: nothing is loaded or made where the command itself is at fault


def test_the_commands_work_when_the_input_is_right(folders: dict[str, str], path: Path) -> None:
    for name, arguments in readers(folders, path).items():
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, (name, result.output)
    assert path.with_suffix(".html").read_text(encoding="utf-8").count("sentence")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.jsonl", None, "No such file"),
        ("empty.txt", b"", "no text in it"),
        ("binary.txt", b"a\0b", "a binary file"),
        ("latin.txt", b"caf\xe9", "not UTF-8"),
        ("number.jsonl", b'{"text": 3}', 'line 1: no "text" field'),
        ("x" * 300 + ".jsonl", None, "File name too long"),
        ("x" * 300, None, "x: "),
    ],
)
def test_texts(
    folders: dict[str, str],
    path: Path,
    no_model: None,
    name: str,
    content: bytes | None,
    message: str,
) -> None:
    texts = path.with_name(name)
    if content is not None:
        texts.write_bytes(content)
    before = contents(path)
    for command in (synth, score):
        assert message in refusal(*command(folders, path), "--texts", str(texts))
    assert contents(path) == before
    refusal(*synth(folders, path.with_name("new")), "--texts", str(texts))
    assert not path.with_name("new").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--heads", "nonsense"], "names no heads"),
        (["--heads", ""], "names no heads"),
        (["--heads", "L0H3-1"], "runs backwards"),
        (["--show-prompt", "all of them"], "names no heads"),
        (["--show-prompt", "L0H0", "--proposer", "mutation"], "mutation is shown no text"),
        (["--library", "{folder}"], "is a folder"),
        (["--library", "{folder}/none/l.sqlite"], "check that its folder exists"),
        (["--library", "{texts}"], "is an export, which is only read"),
    ],
)
def test_what_is_soon_checked_is_checked_first(
    folders: dict[str, str], tmp_path: Path, no_model: None, options: list[str], message: str
) -> None:
    filled = [o.format(folder=tmp_path, texts=folders["texts"]) for o in options]
    assert message in refusal(*synth(folders, tmp_path / "new"), *filled)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--heads", "L99H99"], f"L99H99: the model has layers L0-L{LAYERS - 1} and heads H0"),
        (["--heads", f"L0H0-{HEADS}"], f"heads H0-H{HEADS - 1}"),
        (["--max-tokens", f"{CONTEXT + 1}"], f"takes at most {CONTEXT}"),
        (["--model", "no/such-model"], "unknown model no/such-model"),
        (["--model", "{folder}"], "holds no model"),
        (["--texts", "{one}"], "one.jsonl: document 3 of 4 has 1 token"),
    ],
)
def test_a_synth_that_fails_makes_no_library(
    folders: dict[str, str], tmp_path: Path, options: list[str], message: str
) -> None:
    one = tmp_path / "one.jsonl"
    one.write_text("".join(f'{{"text": "{text}"}}\n' for text in ("a b", "c d", "e", "f g")))
    filled = [o.format(folder=tmp_path, one=one) for o in options]
    assert message in refusal(*synth(folders, tmp_path / "new"), *filled)
    assert list(tmp_path.iterdir()) == [one]


@pytest.mark.parametrize(
    "options",
    [
        *(["--seed", "-1"], ["--seed", "x"], ["--max-tokens", "1"], ["--budget", "-1"]),
        *(["--head", "L0H0"], ["surplus"]),
    ],
)
def test_wrong_usage(folders: dict[str, str], tmp_path: Path, options: list[str]) -> None:
    result = CliRunner().invoke(main, [*synth(folders, tmp_path / "new"), *options])
    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: ")
    assert not list(tmp_path.iterdir())


# Libraries that cannot be read, or do not fit


def test_files_that_are_no_library(folders: dict[str, str], tmp_path: Path, stored: Path) -> None:
    text, cut, newer = (tmp_path / name for name in ("text", "cut", "newer"))
    text.write_text("Once upon a time.\n" * 100)
    cut.write_bytes(stored.read_bytes()[:5000])
    shutil.copy(stored, newer)
    change(newer, "UPDATE alembic_version SET version_num = '9999'")
    expected = {
        tmp_path / "none": "does not exist",
        tmp_path: "is a folder",
        text: "is not a HeadScript library",
        cut: "is damaged or cut off",
        newer: "was written by a newer HeadScript",
    }
    for file, message in expected.items():
        before = file.read_bytes() if file.is_file() else None
        for arguments in readers(folders, file).values():
            assert message in refusal(*arguments)
        assert (file.read_bytes() if file.is_file() else None) == before


def test_a_library_of_another_model(folders: dict[str, str], path: Path) -> None:
    other = folders | {"llama": folders["bert"]}
    assert f"has no choice 'iou' for {folders['bert']}" in refusal(*score(other, path))
    assert "has no choice 'best'" in refusal(*score(folders, path), "--choice", "best")
    for command in ("list", "show", "report"):
        assert "small" in refusal(*readers(folders, path)[command], "--model", "small") or command
    change(path, "UPDATE choices SET model_revision = 'ffff'")
    assert "was made for revision ffff" in refusal(*score(folders, path))


def test_a_page_that_cannot_be_written(path: Path) -> None:
    output = str(path / "page.html")
    assert "cannot be written" in refusal("report", "--library", str(path), "-o", output)


def test_a_score_of_bad_texts(folders: dict[str, str], path: Path) -> None:
    before = contents(path)
    one = path.with_name("one.txt")
    one.write_text("a")
    assert "document 1 of 1 has 1 token" in refusal(*score(folders, path), "--texts", str(one))
    most = ["--max-tokens", str(CONTEXT + 1)]
    assert f"takes at most {CONTEXT}" in refusal(*score(folders, path), *most)
    assert contents(path) == before


def test_verify_computes_scores_again(folders: dict[str, str], path: Path) -> None:
    library = ["--library", str(path)]
    verify = ["library", "verify", *library, "--model", folders["llama"], "--texts"]
    result = CliRunner().invoke(main, [*verify, folders["texts"], "--json"])
    assert result.exit_code == 0, result.output
    again = json.loads(result.stdout)["recomputed"]
    assert {score["split"] for score in again} == {"select", "test"}
    assert all(abs(score["stored"] - score["computed"]) < 1e-6 for score in again)
    assert "lacks a run of" in refusal(*verify, "stories")
    change(path, "UPDATE scores SET iou = 0.123, iou_per_document = '[0.123]'")
    assert "and again computed" in refusal(*verify, folders["texts"])


# Libraries that a stranger changed

NEEDED = {
    "UPDATE runs SET settings = '{}'": {"report": "layers is None"},
    "UPDATE runs SET settings = json_set(settings, '$.layers', 'two')": {"report": "layers is"},
    "UPDATE runs SET settings = json_set(settings, '$.layers', 1000000)": {"report": "too many"},
    "UPDATE runs SET settings = json_set(settings, '$.layers', 1)": {"report": "no head L1H2"},
    "UPDATE choices SET layer = 99": {"report": "lacks a test score", "score": "L99H2"},
    "UPDATE choices SET head = -1": {"report": "lacks a test score", "score": "L1H-1"},
    "UPDATE choices SET run_id = 99": {"report": "lacks a run"},
    "UPDATE choices SET select_iou = 'high'": dict.fromkeys(
        ["list", "show", "report", "score"], "select_iou is"
    ),
    "DELETE FROM scores": {"report": "lacks a test score"},
    "DELETE FROM baselines WHERE name != 'best_trivial'": {"report": "lacks a trivial program"},
    "UPDATE scores SET iou_per_document = '[]'": dict.fromkeys(
        ["list", "show", "report"], "1 documents with 0 values of iou"
    ),
    "UPDATE scores SET iou_per_document = '[NaN]'": {"list": "[nan]", "report": "[nan]"},
    "UPDATE scores SET iou = 9e999": {"list": "iou is inf", "report": "iou is inf"},
    "UPDATE scores SET iou = x'6e616e'": {"list": "iou is b'nan'"},
    "UPDATE examples SET real = x'00'": {"report": "do not fit its tokens"},
    "UPDATE examples SET real = x'', predicted = x'', tokens = '[]'": {"report": "do not fit"},
    "UPDATE examples SET tokens = '[1]'": {"report": "tokens is [1]"},
    "UPDATE examples SET document = x'00ff'": {"report": "document is"},
    "UPDATE programs SET text = 'noun'": dict.fromkeys(
        ["list", "show", "report", "score"], "is not the one that it names"
    ),
}


@pytest.mark.parametrize("statement", NEEDED)
def test_crafted_libraries(folders: dict[str, str], path: Path, statement: str) -> None:
    before = change(path, statement)
    for command, message in NEEDED[statement].items():
        assert message in refusal(*readers(folders, path)[command])
    assert contents(path) == before
    assert not path.with_suffix(".html").exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("__import__('os').system('id')", "not a program: syntax at line 1, column 1"),
        ("30 first + 20 first", "not in canonical form"),
        ("first +\nself", "not a program: "),
        ("near(" * 300, "not a program: "),
        ("\x1b[2J", "not a program: "),
    ],
)
def test_programs_that_are_none(
    folders: dict[str, str], path: Path, text: str, reason: str
) -> None:
    digest = content_hash(text)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO programs VALUES (?, ?, '')", (digest, text))
        connection.execute("UPDATE choices SET program_hash = ?", (digest,))
    for command in ("list", "show", "report"):
        told = refusal(*readers(folders, path)[command])
        assert f"holds program {digest}: {reason}" in told
        assert "\x1b" not in told
    if reason.startswith("not a program"):
        assert "none of its 1 choices" in refusal(*score(folders, path))


def test_names_are_values(path: Path) -> None:
    before = contents(path)
    evil = "'; DROP TABLE runs; --"
    library = ["--library", str(path)]
    assert "holds nothing for" in refusal("library", "list", *library, "--model", evil)
    assert "has no program" in refusal("library", "show", evil, *library)
    assert "no chosen programs" in refusal("report", *library, "--model", evil)
    assert contents(path) == before
    change(path, "UPDATE choices SET model = 'a' || char(10, 27) || '[2J' || char(0x202e)")
    told = refusal("library", "list", *library, "--model", "b")
    assert r"only for a\n\x1b[2J\u202e" in told


def test_an_sqlite_file_with_our_mark_and_other_tables(
    folders: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "l.sqlite"
    change(path, f"PRAGMA application_id = {APPLICATION_ID}", "CREATE TABLE runs (note)")
    before = path.read_bytes()
    for arguments in readers(folders, path).values():
        assert "lacks what a HeadScript library holds" in refusal(*arguments)
    assert path.read_bytes() == before


def test_the_real_command(path: Path) -> None:
    """As a process of its own: no traceback, and the status that a shell sees."""
    change(path, "UPDATE runs SET settings = '{}'")
    code = "from interpreter.command_line import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "report", "--library", str(path)],
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: {path} does not tell what the page needs: ")
    assert done.stderr.count("\n") == 1
