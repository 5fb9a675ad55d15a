"""`headscript run`: the matrix, the heat map, and what it says about bad input."""

import io
import json
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from grammar import limits
from grammar.canonical import content_hash
from grammar.parser import parse_or_raise
from interpreter.command_line import main
from interpreter.heat_map import print_heat_map
from interpreter.reference import Reference
from interpreter.tokens import read_tokens
from tests.tiny_models import CONTEXT, tiny, tokenizer

TEXT = 'A 猫 saw the dog.\n"Oh," said Ann.'


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tagger: Any) -> dict[str, str]:
    """Checkpoints of a causal and a bidirectional model."""
    made = {}
    for family in ("llama", "bert"):
        folder = tmp_path_factory.mktemp(family)
        tiny(family).model.save_pretrained(folder)
        tokenizer().save_pretrained(folder)
        made[family] = str(folder)
    return made


@pytest.fixture
def model(folders: dict[str, str]) -> str:
    return folders["llama"]


def run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, ["run", *arguments], env=env)


def refusal(*arguments: str) -> str:
    """The one line on stderr of a run that fails."""
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_json(folders: dict[str, str], family: str, tagger: Any) -> None:
    folder = folders[family]
    result = run("2 first + 2 near(noun, 4)", "--text", TEXT, "--model", folder, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert set(found) == {*("program", "hash", "sentence", "model", "tokens", "causal", "matrix")}
    assert found["program"] == "1 first + 1 near(noun, 4)"
    assert found["hash"] == content_hash(found["program"])
    assert found["sentence"].startswith("Half each to the first token, and nearby nouns, fading")
    assert found["model"] == folder
    assert found["causal"] == (family == "llama")
    (tokens,) = read_tokens([TEXT], tokenizer(), tagger)
    assert found["tokens"][-1] == "."
    assert len(found["tokens"]) == len(tokens)
    reference = Reference(tokens, causal=found["causal"]).matrix(parse_or_raise(found["program"]))
    for row, expected in zip(found["matrix"], reference, strict=True):
        assert row == pytest.approx(expected, abs=1.1e-6)
        assert row == [round(weight, 6) for weight in row]
        assert sum(row) == pytest.approx(1, abs=1e-5)


def test_heat_map(model: str) -> None:
    result = run("2 first + 1 self + 1 self", "--text", "Ann ran.", "--model", model)
    assert result.exit_code == 0
    program, sentence, blank, legend, *_ = result.stdout.split("\n")
    assert (program, blank) == ("1 first + 1 self", "")
    assert sentence == "Half each to the first token and the query itself."
    assert legend.startswith("Rows: the token that looks (query).")
    assert "\x1b" not in result.stdout
    last = result.stdout.splitlines()[-1]
    assert last.split()[1] == "."
    assert last.split()[2] == "5"
    assert last.split()[-1] == "5"


@pytest.mark.parametrize(("family", "upper"), [("llama", 0), ("bert", 3)])
def test_what_no_query_sees_is_blank(folders: dict[str, str], family: str, upper: int) -> None:
    result = run("any", "--text", "a. b.", "--model", folders[family])
    first_row = next(line for line in result.stdout.splitlines() if line.startswith("0 "))
    assert len(first_row.split()) == 3 + upper


def drawn(width: int = 80, *, causal: bool = False, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=width, **options)
    matrix = [[0.25, 0.75, 0.0], [1.0, 0.0, 0.0], [0.7, 0.0001, 0.2999]]
    print_heat_map(console, matrix, [" 猫", "everlasting", "\n"], causal=causal)
    return console.file.getvalue()


def test_digits() -> None:
    rows = drawn().splitlines()[-3:]
    assert rows == [
        "0 猫           2 7 ·",
        "1 everlasting  9 · ·",
        "2 \\n           7 0 2",
    ]


def test_headings_are_written_downwards() -> None:
    lines = drawn().splitlines()
    assert [line[14:] for line in lines[3:-3]] == [
        *("   e  ", "   v  ", "   e  ", "   r  ", "   l  ", "   a  "),
        *("   s \\", "猫 … n"),
    ]


def test_shades() -> None:
    shown = drawn(force_terminal=True, color_system="truecolor")
    assert "square root" in shown
    # The blue that is mixed least belongs to weight 1, nothing to weight 0.
    assert "48;2;255;196;84m  " in shown
    assert shown.splitlines()[-2].endswith("\x1b[0m    ")
    assert "·" not in shown


def test_no_color_means_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    shown = drawn(force_terminal=True, color_system="truecolor")
    assert "48;" not in shown
    assert "2 7 ·" in shown


def test_blocks_of_columns_that_fit() -> None:
    shown = drawn(width=18)
    assert "Keys 0 to 1 of 3:" in shown
    assert "Keys 2 to 2 of 3:" in shown
    assert max(map(len, drawn(width=18).split("Keys", 1)[1].splitlines())) <= 18
    causal = drawn(width=18, causal=True).split("Keys 2")[1]
    assert "everlasting" not in causal


def test_a_rejected_program() -> None:
    result = run("30 frist", "--text", "A cat.")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "\n     ^\nhint: `frist`: did you mean `first`?\n" in result.stderr


def test_texts_that_cannot_be_run(model: str) -> None:
    assert "--text is empty" in refusal("first", "--text", " \n", "--model", model)
    one = refusal("first", "--text", "a", "--model", model)
    assert f"1 token for {model}; give a text of 2 to {CONTEXT} tokens" in one
    many = refusal("first", "--text", "a " * 4000, "--model", model)
    assert f"give a text of 2 to {CONTEXT} tokens" in many
    assert "not valid Unicode" in refusal("first", "--text", "a \udcff", "--model", model)


def test_too_costly(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_EVALUATION_COST", 10)
    assert "too_costly" in refusal("first", "--text", "A cat.", "--model", model)


def test_an_unknown_model() -> None:
    assert "unknown model" in refusal("first", "--text", "A cat.", "--model", "no/such-model")


def test_help_has_an_example() -> None:
    assert "Example: headscript run" in run("--help").stdout
