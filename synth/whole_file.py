"""Writes a file whole or not at all: cut off by a full disk or a kill, it would look like one."""

from collections.abc import Iterable
from pathlib import Path

from grammar.errors import InputError


def write_whole(output: Path, parts: Iterable[str]) -> int:
    """Writes the parts as UTF-8; the number of lines.  InputError where that is not possible."""
    draft = output.with_name(output.name + ".part")
    count = 0
    try:
        try:
            with open(draft, "w", encoding="utf-8", newline="\n") as file:
                for part in parts:
                    file.write(part)
                    count += part.count("\n")
            draft.replace(output)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror or error}") from error
    return count
