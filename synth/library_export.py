"""Writes a library, or its choices, into a file that other programs read."""

import csv
import io
import keyword
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import fields
from pathlib import Path

from grammar.errors import InputError
from interpreter.progress import progress_bar
from synth.library import Library
from synth.library_python import python_source
from synth.library_view import ListedHead, listed_heads
from synth.whole_file import write_whole

KINDS = (".jsonl", ".csv", ".py")


def export(library: Library, output: Path, *, chosen: bool = False) -> int:
    """Writes the file whole or not at all; its number of lines.

    A .jsonl file holds everything, or with `chosen` the choices and their scores alone; a .csv
    file a row for each choice (`ListedHead`); a .py file the chosen programs as functions in
    numpy.  InputError for another kind of file.
    """
    match output.suffix:
        case ".jsonl":
            # Closed before the library is, also where the disk is full.
            with closing(library.lines(chosen=chosen)) as lines:
                return write_whole(output, lines)
        case ".csv":
            return write_whole(output, _csv(listed_heads(library)))
        case ".py":
            name = output.stem
            if not name.isidentifier() or keyword.iskeyword(name):
                raise InputError(f"{output}: {name!r:.40} is no name for a Python module")
            return write_whole(output, [python_source(name, library.choices(choice=None))])
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
