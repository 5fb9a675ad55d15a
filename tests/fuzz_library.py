"""Mutated libraries, exported and as database files, for `tests.fuzz`."""

import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from grammar.errors import InputError
from synth.library import Library
from synth.library_merge import merge
from tests.library_samples import full_library, small_library

VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 2**63, 10**400, 1e308, 0.5, "", "x" * 3000, "\0", "\ud800", "first"),
    *("'; DROP TABLE programs; --", "<script>", [], {}, [[]], {"a": {}}, [1], ["x"]),
)
BYTES = (b"", b"\0", b"\xff", b"{", b"}", b'"', b"\\u0000", b"NaN", b"1e999", b"\n", b"[" * 2000)


class Target:
    """A library in `folder` that mutated ones are merged into, and those in their whole form."""

    def __init__(self, folder: Path) -> None:
        self.path, self.folder = folder / "target.sqlite", folder
        small_library(self.path)
        full_library(folder / "whole.sqlite")
        with Library.open(folder / "whole.sqlite") as library:
            self.exported = "".join(library.lines()).encode()
            # Moves what is in the write-ahead log into the file.
        self.stored = (folder / "whole.sqlite").read_bytes()
        self.before = self.path.read_bytes()

    def attack(self, rng: Random, tried: Counter[str]) -> None:
        """Merges one mutated library."""
        if rng.random() < 0.5:
            self.merge("m.jsonl", mutated_lines(rng, self.exported), tried)
        else:
            self.merge("m.sqlite", mutated_bytes(rng, self.stored, (b"",)), tried)

    def merge(self, name: str, content: bytes, tried: Counter[str]) -> None:
        """A file of this content is added, or an InputError leaves the target as it was."""
        tried["executions"] += 1
        source = self.folder / name
        for leftover in self.folder.glob("m.*"):
            leftover.unlink()
        source.write_bytes(content)
        refusal = ""
        try:
            merge(self.path, [source])
        except InputError as error:
            refusal = str(error)
        if refusal:
            tried[f"refused {source.suffix}"] += 1
            assert "\n" not in refusal
            assert self.path.read_bytes() == self.before
            return
        tried[f"added {source.suffix}"] += 1
        with Library.open(self.path) as library:
            list(library.lines())
        for leftover in self.folder.glob("target.sqlite*"):
            leftover.unlink()
        self.path.write_bytes(self.before)


def mutated_lines(rng: Random, content: bytes) -> bytes:
    """An export with lines moved, values changed, or bytes changed."""
    lines = content.splitlines(keepends=True)
    for _ in range(rng.choice((1, 1, 2))):
        i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
        match rng.randrange(5):
            case 0:
                lines[i], lines[j] = lines[j], lines[i]
            case 1:
                lines.insert(j, lines[i])
            case 2:
                del lines[i]
                if not lines:
                    return b""
            case 3:
                lines[i] = mutated_bytes(rng, lines[i], BYTES)
            case 4:
                lines[i] = _other_value(rng, lines[i])
    return b"".join(lines)


def _other_value(rng: Random, line: bytes) -> bytes:
    try:
        record = json.loads(line)
    except ValueError:
        return line
    if isinstance(record, dict) and record:
        inner = [v for v in record.values() if isinstance(v, list) and v and isinstance(v[0], dict)]
        place = rng.choice(inner)[0] if inner and rng.random() < 0.7 else record
        place[rng.choice([*place, "extra"])] = rng.choice(VALUES)
    return json.dumps(record).encode() + b"\n"


def mutated_bytes(rng: Random, content: bytes, inserted: tuple[bytes, ...]) -> bytes:
    """`content` with one to four places overwritten, and now and then cut off."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(changed) + 1)
        length = rng.choice((1, 1, 2, 8))
        changed[place : place + length] = rng.choice((rng.randbytes(length), *inserted))
    return bytes(changed[: rng.randrange(len(changed) + 1)] if rng.random() < 0.05 else changed)
