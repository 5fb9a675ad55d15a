"""`headscript check`: a verdict on every program of a file or a pipe, one program a line."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import BinaryIO

import click

from grammar import limits
from grammar.canonical import canonical_tree, content_hash
from grammar.errors import InputError
from grammar.printer import to_text
from grammar.rejection import Rejection, printable
from grammar.tree import Node
from interpreter.progress import new_display

SECONDS_WITHOUT_PROGRESS = 2.0
LIBRARY = b'{"kind": "library"'
"""How an exported library begins."""
MOST_BYTES = 4 * limits.MAX_PROGRAM_CHARACTERS
"""No program has more in UTF-8; of a longer line little more is kept."""


@dataclass(frozen=True)
class Verdict:
    """What is said about one line.  A rejection's `line` is the line of the file."""

    line: int
    program: str
    """As it was written; bytes that are not UTF-8 as \\xff, a line that is too long cut."""
    result: Node | Rejection
    """The canonical tree, or why there is none."""

    @property
    def ok(self) -> bool:
        """Whether the line is a program."""
        return isinstance(self.result, Node)

    def as_text(self) -> str:
        """For people: one line, or a rejection with a caret under the place."""
        if isinstance(self.result, Rejection):
            return self.result.render(self.program)
        canonical = to_text(self.result)
        written = "" if canonical == self.program else f"  (written: {self.program})"
        return printable(f"ok at line {self.line}: {canonical}{written}")

    def as_json(self) -> dict[str, object]:
        """The keys that the command documents."""
        fields: dict[str, object] = {"line": self.line, "ok": self.ok, "program": self.program}
        if isinstance(self.result, Rejection):
            return fields | self.result.as_json()
        canonical = to_text(self.result)
        hashed = content_hash(canonical)
        return fields | {"canonical": canonical, "hash": hashed, "size": self.result.size}


@click.command(epilog="Example: headscript check programs.txt --json | jq .code")
@click.argument("file", default="-", metavar="[FILE|-]")
@click.option("--json", "as_json", is_flag=True, help="Print one object per line instead.")
@click.pass_context
def check(ctx: click.Context, file: str, as_json: bool) -> None:
    """Parse and validate programs, one a line, from FILE or a pipe.

    Blank lines and lines that begin with # are passed over.  Each verdict is printed as soon as
    its line is read, a count of all at the end on stderr.  The exit status is 1 where a program
    was rejected.

    Keys of the objects of --json: line (of the file), ok, program (as written); where ok:
    canonical (the one text of all programs like it), hash (of that text), size (nodes of its
    tree); where not: code (empty, too_long, too_large, syntax, unknown_name, incomplete or
    characters), message, column (from 1, in characters), hint, expected (a list).
    """
    total = rejected = 0
    with ExitStack() as stack:
        stream = sys.stdin.buffer if file == "-" else _opened(file, stack)
        for verdict in _with_progress(verdicts(stream, "<stdin>" if file == "-" else file)):
            click.echo(json.dumps(verdict.as_json()) if as_json else verdict.as_text())
            total += 1
            rejected += not verdict.ok
    programs = "program" if total == 1 else "programs"
    click.echo(f"{total:,} {programs}: {total - rejected:,} ok, {rejected:,} rejected", err=True)
    ctx.exit(1 if rejected else 0)


def verdicts(stream: BinaryIO, name: str) -> Iterator[Verdict]:
    """A verdict on each program, as it is read; InputError where the file begins as a binary."""
    for number, line in enumerate(_lines(stream), start=1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
            if b"\0" in line:
                raise InputError(f"{name}: a binary file (a zero byte in its first line)")
            if line.startswith(LIBRARY):
                raise InputError(f"{name}: a library; `headscript library verify` checks those")
        if line.strip() and not line.startswith(b"#"):
            yield _verdict(number, line)


def _opened(file: str, stack: ExitStack) -> BinaryIO:
    try:
        return stack.enter_context(Path(file).open("rb"))
    except IsADirectoryError as error:
        raise InputError(f"{file}: a folder; give a file of programs, one a line") from error
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}") from error


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """The lines, without their ends; of a line that is too long only enough to see that."""
    enough = MOST_BYTES + len("\r\n") + 1
    while line := stream.readline(enough):
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = stream.readline(enough)
        yield line.rstrip(b"\r\n")


def _verdict(number: int, line: bytes) -> Verdict:
    program = line.decode(errors="backslashreplace")
    if len(line) > MOST_BYTES:
        most = limits.MAX_PROGRAM_CHARACTERS
        message = f"over {MOST_BYTES:,} bytes; a program has at most {most:,} characters"
        return Verdict(number, program, Rejection("too_long", message, number, most + 1))
    try:
        line.decode()
    except UnicodeDecodeError as error:
        column = len(line[: error.start].decode()) + 1
        message = f"not UTF-8: byte 0x{line[error.start]:02x}"
        return Verdict(number, program, Rejection("characters", message, number, column))
    result = canonical_tree(program)
    if isinstance(result, Rejection):
        result = replace(result, line=number)
    return Verdict(number, program, result)


def _with_progress(checked: Iterable[Verdict]) -> Iterator[Verdict]:
    """The same verdicts, with a count on stderr once they take long, where that is a terminal."""
    if not sys.stderr.isatty():
        yield from checked
        return
    begun = monotonic()
    bar = new_display()
    task = bar.add_task("checked", total=None)
    try:
        for verdict in checked:
            bar.advance(task)
            if monotonic() - begun > SECONDS_WITHOUT_PROGRESS:
                bar.start()
            yield verdict
    finally:
        bar.stop()
