"""`headscript check`: verdicts on good, bad and hostile programs, from files and pipes."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from grammar import limits
from grammar.canonical import canonical, content_hash
from grammar.parser import parse_or_raise
from grammar.primitives import PRIMITIVES
from grammar.printer import to_text
from grammar.tree import CONNECTIVES, Node
from interpreter import check_command
from interpreter.check_command import MOST_BYTES
from interpreter.command_line import main
from tests.strategies import programs

FIXTURES = Path(__file__).with_name("fixtures")
LIBRARIES = Path(__file__).parents[1] / "experiments" / "libraries"
CHECK = [sys.executable, "-c", "from interpreter.command_line import main; main()", "check"]


def lines_of(name: str) -> Iterator[str]:
    for line in (FIXTURES / name).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            yield line


def check(given_input: bytes | str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["check", *arguments], input=given_input)


def verdicts(given_input: bytes | str) -> list[dict[str, Any]]:
    result = check(given_input, "--json")
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_library_is_no_list_of_programs() -> None:
    result = check((LIBRARIES / "minilm-l6.jsonl").read_bytes())
    assert result.exit_code == 1
    assert "a library; `headscript library verify`" in result.stderr


def test_identity() -> None:
    texts = list(lines_of("identity.txt"))
    found = verdicts("\n".join(texts))
    assert [v["canonical"] for v in found] == texts
    assert len(texts) >= 60
    nodes = {node.op for text in texts for node in parse_or_raise(text).walk()}
    assert nodes >= {*PRIMITIVES, *CONNECTIVES, "logit", "score", "part", "mixture", "when"}


def test_escapes() -> None:
    attempts = [line.encode().decode("unicode_escape") for line in lines_of("escapes.txt")]
    for attempt in attempts:
        # A file begun by a zero byte is a binary one, so the attempts come second.
        encoded = attempt.encode("utf-8", "surrogatepass")
        result = check(b"first\n" + encoded + b"\n")
        assert isinstance(result.exception, SystemExit)
        assert result.exit_code == 1
        assert "1 ok, 1 rejected" in result.stderr
        assert "Traceback" not in result.output
        assert all(c == "\n" or c.isprintable() for c in result.stdout)
        _, rejected = verdicts(b"first\n" + encoded)
        assert rejected["code"] in ("syntax", "unknown_name", "too_long", "characters")
        assert (rejected["line"], rejected["ok"]) == (2, False)


@settings(max_examples=50, deadline=None)
@given(programs())
def test_a_generated_program_and_its_canonical_form(program: Node) -> None:
    text = to_text(canonical(program))
    found = verdicts(f"{to_text(program)}\n{text}\n")
    if not found[0]["ok"]:
        assert found[0]["code"] in ("too_long", "too_large")
        return
    assert [v["canonical"] for v in found] == [text, text]
    assert found[0]["hash"] == found[1]["hash"] == content_hash(text)
    assert found[0]["size"] == canonical(program).size


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes(junk: bytes) -> None:
    result = check(b"first\n" + junk)
    assert result.exit_code in (0, 1)
    assert isinstance(result.exception, SystemExit | None)
    assert all(c == "\n" or c.isprintable() for c in result.stdout)


def test_text() -> None:
    result = check("first\n\n  \n# prev\nnoun or noun\r\n30 first + 20 prev\n")
    assert result.exit_code == 1
    assert result.stdout == (
        "ok at line 1: first\n"
        "ok at line 5: noun  (written: noun or noun)\n"
        "unknown_name at line 6, column 15: no such word here: `prev`\n"
        "  30 first + 20 prev\n"
        "                ^\n"
        "hint: `prev`: did you mean `back(1)`?\n"
    )
    assert result.stderr == "3 programs: 2 ok, 1 rejected\n"


def test_the_caret_is_under_the_place_in_a_terminal() -> None:
    message, source, caret, *_ = check('word("猫é") x').stdout.splitlines()
    assert "column 11" in message
    assert source == '  word("猫é") x'
    assert caret == "  " + " " * len('word("猫_e")') + "^"


def test_a_line_break_of_another_kind_is_no_line() -> None:
    message, source, caret, *_ = check("first\u2028 and\u0085x").stdout.splitlines()
    assert "column 6" in message
    assert source == r"  first\u2028 and\x85x"
    assert caret == "  " + " " * len("first") + "^"


def test_json_keys() -> None:
    ok, rejected = verdicts("2 first + 2 self\nnuon")
    assert ok == {
        "line": 1,
        "ok": True,
        "program": "2 first + 2 self",
        "canonical": "1 first + 1 self",
        "hash": content_hash("1 first + 1 self"),
        "size": parse_or_raise("1 first + 1 self").size,
    }
    assert set(rejected) == {
        *("line", "ok", "program", "code", "message", "column", "hint", "expected")
    }
    assert "noun" in rejected["expected"]
    assert "noun" in rejected["hint"]


def test_all_ok() -> None:
    result = check("first\nself")
    assert result.exit_code == 0
    assert result.stderr == "2 programs: 2 ok, 0 rejected\n"
    nothing = check("# only a comment\n")
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert nothing.stderr == "0 programs: 0 ok, 0 rejected\n"


def test_a_line_that_is_not_utf8() -> None:
    found = verdicts(b"first\nna\xc3\xafve \xff\nself\n")
    assert [v["ok"] for v in found] == [True, False, True]
    assert (found[1]["code"], found[1]["column"]) == ("characters", 7)
    assert "0xff" in found[1]["message"]
    assert found[1]["program"] == "naïve \\xff"


def test_byte_order_mark() -> None:
    assert check(b"\xef\xbb\xbffirst\r\n").exit_code == 0


def test_lines_of_every_length() -> None:
    long = "x" * (limits.MAX_PROGRAM_CHARACTERS + 1)
    wide = "猫" * limits.MAX_PROGRAM_CHARACTERS
    huge = "first + " * 1_000_000
    found = verdicts(f"{long}\n{wide}\r\n{huge}\nself")
    assert [v.get("code") for v in found] == ["too_long", "syntax", "too_long", None]
    assert len(found[2]["program"]) < MOST_BYTES + 10
    assert found[3]["line"] == 4


def test_wrong_files(tmp_path: Path) -> None:
    for content, message in ((b"GGUF\x03\0\0\0\n", "binary"), ("first".encode("utf-16"), "binary")):
        path = tmp_path / "file"
        path.write_bytes(content)
        result = check("", str(path))
        assert result.exit_code == 1
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
    assert "a folder" in check("", str(tmp_path)).stderr
    missing = check("", str(tmp_path / "none"))
    assert missing.exit_code == 1
    assert "none: No such file" in missing.stderr


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "programs.txt"
    path.write_text("first\nself\n", encoding="utf-8")
    assert check("", str(path)).stderr == "2 programs: 2 ok, 0 rejected\n"


def test_a_pipe_is_answered_line_by_line() -> None:
    with subprocess.Popen(CHECK, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        for program in (b"first", b"self"):
            process.stdin.write(program + b"\n")
            process.stdin.flush()
            assert process.stdout.readline().endswith(program + b"\n")
        process.stdin.close()
        assert process.wait() == 0


@pytest.mark.parametrize("seconds", [0, 3600])
def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal, stderr = pty.openpty()
    code = (
        "from interpreter import check_command, command_line;"
        f"check_command.SECONDS_WITHOUT_PROGRESS = {seconds}; command_line.main()"
    )
    command = [sys.executable, "-c", code, "check"]
    done = subprocess.run(command, input=b"first\n" * 3, stdout=subprocess.PIPE, stderr=stderr)
    sleep(0.1)
    shown = os.read(terminal, 100_000)
    os.close(stderr)
    os.close(terminal)
    assert done.stdout.count(b"ok at line") == 3
    assert b"3 programs" in shown
    assert (b"checked" in shown) is (seconds == 0)


def test_thousands_a_second(tmp_path: Path) -> None:
    lines = [text.encode() for text in lines_of("identity.txt")] * 20
    path = tmp_path / "many.txt"
    path.write_bytes(b"\n".join(lines))
    begun = perf_counter()
    with path.open("rb") as file:
        assert all(v.ok for v in check_command.verdicts(file, "many"))
    # Far below what a quiet machine does, which is about two thousand.
    assert len(lines) / (perf_counter() - begun) > 300


def test_help_has_an_example() -> None:
    assert "Example: headscript check" in check("", "--help").stdout
