"""A library as JSON lines: one record a line, stable, for git and for readers without a database.

The first line names the schema, the last one counts the records, so that a file that was cut off
is known.  See `synth.library_records` and docs/library.md.
"""

import json
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NoReturn

from grammar.errors import InputError
from synth.library_database import NEWER, Database, scripts
from synth.library_file import MAX_VALUE_BYTES, open_memory
from synth.library_records import Record, add_records, of_choices, records

MAX_LINE_BYTES = MAX_VALUE_BYTES
"""A longer line is refused before it is read."""

ONE_CHOICE = ("model", "model_revision", "layer", "head", "choice")
"""A library has one choice for each."""


def lines(database: Database, *, chosen: bool) -> Generator[str, None, None]:
    """The lines of an export, each with its end of line; the same for the same content.

    With `chosen` only what belongs to the choices (`synth.library_records.of_choices`).
    """
    count = 0
    yield _line({"kind": "library", "schema": scripts().get_current_head()})
    found = records(database)
    for record in of_choices(found) if chosen else found:
        yield _line(record)
        count += 1
    yield _line({"kind": "end", "records": count})


def _line(record: Record) -> str:
    # ASCII alone: nothing in it can mislead a reader of a diff.
    return json.dumps(record, allow_nan=False) + "\n"


def read_export(path: Path) -> Iterator[tuple[str, Record]]:
    """(file and line, record) of an exported file; InputError where it is not whole."""
    if not os.path.exists(path):
        raise InputError(f"{path} does not exist: make it with `headscript library export`")
    try:
        with open(path, "rb") as file:
            number, count, first = 0, None, True
            heads: set[str] = set()
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                place = f"{path}:{number}"
                if count is not None:
                    raise InputError(f"{place}: it goes on after its end: restore it from a copy")
                record = _record(line, place)
                if first:
                    _check_header(record, path)
                    first = False
                elif record.get("kind") == "end":
                    count = number - 2
                    if record != {"kind": "end", "records": count}:
                        raise InputError(
                            f"{place}: {count} records stand above it, not "
                            f"{record.get('records')!r:.20}: restore it from a copy"
                        )
                else:
                    _check_once(record, heads, place)
                    yield place, record
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    if count is None:
        raise InputError(f"{path} is cut off after line {number}: restore it from a copy")


def _check_once(record: Record, heads: set[str], place: str) -> None:
    """InputError for a second choice of one kind for a head: which of them is meant?"""
    if record.get("kind") != "choice":
        return
    head = json.dumps([record.get(name) for name in ONE_CHOICE])
    if head in heads:
        raise InputError(
            f"{place}: a second choice {record.get('choice')!r:.40} for layer "
            f"{record.get('layer')!r:.20}, head {record.get('head')!r:.20}: leave one of them out"
        )
    heads.add(head)


def _check_header(record: Record, path: Path) -> None:
    if record.get("kind") != "library" or not isinstance(record.get("schema"), str):
        raise InputError(
            f"{path}:1: not a HeadScript library: make one with `headscript library export`"
        )
    if record["schema"] not in {script.revision for script in scripts().walk_revisions()}:
        raise InputError(f"{path} {NEWER}")


def _record(line: bytes, place: str) -> Record:
    if len(line) > MAX_LINE_BYTES:
        raise InputError(f"{place}: the line has over {MAX_LINE_BYTES:,} bytes")
    try:
        record = json.loads(line.decode(), object_pairs_hook=_once, parse_constant=_no_number)
        json.dumps(record, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        reason = str(error) or "it is nested too deeply"
        raise InputError(f"{place}: not JSON as a library writes it: {reason:.200}") from error
    if not isinstance(record, dict):
        raise InputError(f"{place}: not a JSON object")
    return record


def _once(pairs: list[tuple[str, Any]]) -> Record:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def open_export(path: Path) -> Database:
    """An exported file as a library in memory, which is only read.

    Types and hashes are checked now, programs where they are used; `library verify` checks all.
    """
    database = open_memory(str(path))
    add_records(database, read_export(path), checked=False)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
    return database
