"""Writes a library, or its choices, into a file that other programs read."""

import csv
import io
import keyword
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path

from grammar.errors import InputError
from interpreter.progress import progress_bar
from synth.library import Library
from synth.library_python import python_source
from synth.library_view import ListedHead, listed_heads

KINDS = (".jsonl", ".csv", ".py")


def export(library: Library, output: Path, *, chosen: bool = False) -> int:
    """Writes the file whole or not at all; its number of lines.

    A .jsonl file holds everything, or with `chosen` the choices and their scores alone; a .csv
    file a row for each choice (`ListedHead`); a .py file the chosen programs as functions in
    numpy.  InputError for another kind of file.
    """
    match output.suffix:
        case ".jsonl":
            return _write(output, library.lines(chosen=chosen))
        case ".csv":
            return _write(output, _csv(listed_heads(library)))
        case ".py":
            name = output.stem
            if not name.isidentifier() or keyword.iskeyword(name):
                raise InputError(f"{output}: {name!r:.40} is no name for a Python module")
            return _write(output, [python_source(name, library.choices(choice=None))])
    raise InputError(f"{output}: name a file that ends in {', '.join(KINDS)}")


def _csv(heads: Sequence[ListedHead]) -> Iterator[str]:
    names = [*(f.name for f in fields(ListedHead) if f.name != "tree"), "sentence"]
    yield _csv_line(names)
    with progress_bar() as bar:
        for head in bar.track(heads, description="Sentences"):
            yield _csv_line(head.told().values())


def _csv_line(values: Iterable[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()


def _write(output: Path, parts: Iterable[str]) -> int:
    # Cut off by a full disk or a kill, a file would look like a whole one.
    draft = output.with_name(output.name + ".part")
    count = 0
    try:
        with open(draft, "w", encoding="utf-8", newline="\n") as file:
            for part in parts:
                file.write(part)
                count += part.count("\n")
        draft.replace(output)
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return count
