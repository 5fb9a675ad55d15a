"""Texts to work on: read from a file, a folder's corpus or the hub, split by document."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

from grammar.errors import InputError

SEPARATOR = "<|endoftext|>"
OWN_CORPUS = "stories"
SPLITS = ("train", "select", "test")
HUB_DOCUMENTS = 1000
"""At most so many are read of a data set of the hub where no limit is given."""


@dataclass(frozen=True)
class Texts:
    """Documents in their order."""

    name: str
    documents: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """64 hex digits over the documents' UTF-8, each ended by a zero byte."""
        digest = hashlib.sha256()
        for document in self.documents:
            digest.update(document.encode() + b"\0")
        return digest.hexdigest()

    def split(self) -> dict[str, "Texts"]:
        """Train, select and test documents: half, a quarter, a quarter, taken in turn."""
        parts: dict[str, list[str]] = {name: [] for name in SPLITS}
        turns = ("train", "select", "train", "test")
        for number, document in enumerate(self.documents):
            parts[turns[number % len(turns)]].append(document)
        for name, documents in parts.items():
            if not documents:
                raise InputError(
                    f"{self.name}: {len(self.documents)} documents are too few to split into "
                    f"train, select and test; give at least {len(turns)} (no {name} document)"
                )
        return {name: Texts(f"{self.name}/{name}", tuple(d)) for name, d in parts.items()}


def load_texts(source: str, limit: int | None = None) -> Texts:
    """Documents from `stories` (the project's own), a .jsonl or .txt file, or a hub data set.

    A data set is NAME, NAME:SPLIT or NAME:SPLIT:COLUMN, with the split `train` and the column
    `text` where they are not said.  At most `limit` documents.  InputError where there is nothing
    to read: it names the file and the line.
    """
    # Unlike Path's methods, os.path's raise nothing for a name that is too long to be one.
    path, name = Path(source), source
    if source == OWN_CORPUS:
        own = files("interpreter.corpus").joinpath("stories.jsonl")
        documents = _from_jsonl(own.read_text(encoding="utf-8"), source)
    elif os.path.isdir(path):
        raise InputError(f"{source}: a folder; give a .jsonl or .txt file of texts")
    elif path.suffix in (".jsonl", ".txt") or os.path.exists(path):
        documents = _from_file(path)
        # A library keeps the name and goes to people who have nothing of the folders here.
        name = path.name
    else:
        documents = _from_hub(source, limit)
    documents = [d for d in documents if d.strip()][:limit]
    if not documents:
        raise InputError(f"{source}: no text in it; give a file with at least one document")
    return Texts(name, tuple(documents))


def read_text(path: Path) -> str:
    """What a file of UTF-8 text holds, without a byte-order mark; InputError where it is none."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 text (byte {error.start} is 0x{content[error.start]:02x}); "
            "save it as UTF-8"
        ) from error
    if "\0" in text:
        raise InputError(f"{path}: a binary file (a zero byte at character {text.index(chr(0))})")
    return text


def json_lines(content: str, name: str | Path) -> Iterator[tuple[str, Any]]:
    """Each line's place, as in `a.jsonl, line 3`, and what it says; InputError where it is no JSON.

    Empty lines are none.
    """
    # Strings may hold characters at which `splitlines` would split.
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{name}, line {number}"
        try:
            yield place, json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{place}: not JSON: {error}") from error


def _from_file(path: Path) -> list[str]:
    text = read_text(path)
    if path.suffix == ".jsonl":
        return _from_jsonl(text, str(path))
    documents, current = [], list[str]()
    for line in text.splitlines(keepends=True):
        if line.strip() == SEPARATOR:
            documents.append("".join(current).strip("\n"))
            current = []
        else:
            current.append(line)
    return [*documents, "".join(current).strip("\n")]


def _from_jsonl(content: str, name: str) -> list[str]:
    documents = []
    for place, record in json_lines(content, name):
        text = record.get("text") if isinstance(record, dict) else None
        if not isinstance(text, str):
            raise InputError(f'{place}: no "text" field that holds a string')
        if any("\ud800" <= c <= "\udfff" for c in text):
            raise InputError(f"{place}: a lone surrogate; not valid Unicode text")
        documents.append(text)
    return documents


def _from_hub(source: str, limit: int | None) -> list[str]:
    try:
        from datasets import load_dataset  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise InputError(
            f"{source}: no such file, and hub data sets need the extra `hub`: "
            "`pip install -c constraints.txt -e '.[hub]'`"
        ) from error
    name, _, rest = source.partition(":")
    split, _, column = rest.partition(":")
    split, column = split or "train", column or "text"
    try:
        rows = load_dataset(name, split=split, streaming=True)
        found = list(islice(rows, limit or HUB_DOCUMENTS))
    except Exception as error:  # the hub client raises many kinds; all mean "not to be had"
        raise InputError(
            f"{source}: neither a file nor a data set that the hub gives: {error}"
        ) from error
    columns = sorted(found[0]) if found else [column]
    if column not in columns:
        raise InputError(
            f"{source}: no column `{column}` in {name}, which has {', '.join(columns)}: "
            f"name one as {name}:{split}:COLUMN"
        )
    return [str(row[column] or "") for row in found]
