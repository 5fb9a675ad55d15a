"""Texts that are no stories: Python code, and questions with their answers, as plain documents."""

import json
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from grammar.errors import InputError
from interpreter.models import LoadedModel
from interpreter.texts import Texts, load_texts

CODE = "code"
CHARACTERS = 3_000
"""Of a document: enough for 512 tokens."""
CODE_DOCUMENTS = 48


def source_texts(source: str) -> Texts:
    """`code`, or texts as `load_texts` knows them, or a .jsonl file of questions."""
    if source == CODE:
        return code_texts()
    return question_texts(Path(source)) if _asks(source) else load_texts(source)


def code_texts() -> Texts:
    """Classes of Python's standard library, each from its first line, without the file's head."""
    found = []
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        _, mark, rest = path.read_text(encoding="utf-8").partition("\nclass ")
        if len(rest) >= CHARACTERS:
            found.append((mark + rest).lstrip("\n")[:CHARACTERS])
    return Texts(CODE, tuple(found[:: max(1, len(found) // CODE_DOCUMENTS)][:CODE_DOCUMENTS]))


def question_texts(path: Path) -> Texts:
    """Questions of a .jsonl file with `question` and `choices`, one below the other.

    One question is too short to be read at every length, so a document holds as many as fill it.
    """
    documents, current = [], ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        record = json.loads(line)
        if not isinstance(record.get("choices"), list):
            raise InputError(f"{path.name}, line {number}: no list of `choices`")
        current += "\n".join([record["question"], *record["choices"]]) + "\n\n"
        if len(current) >= CHARACTERS:
            documents.append(current)
            current = ""
    if not documents:
        raise InputError(f"{path.name}: too few questions to fill {CHARACTERS} characters")
    return Texts(path.name, tuple(documents))


def _asks(source: str) -> bool:
    """Whether a file's first record is a question."""
    if not source.endswith(".jsonl") or not Path(source).is_file():
        return False
    with Path(source).open(encoding="utf-8") as file:
        first = file.readline()
    return '"question"' in first and '"text"' not in first


def at_least(loaded: LoadedModel, texts: Texts, tokens: int, limit: int) -> Texts:
    """The first `limit` documents that have so many tokens: a shorter one says nothing of them."""
    ids = loaded.tokenizer(list(texts.documents))["input_ids"]
    long = [d for d, of_one in zip(texts.documents, ids, strict=True) if len(of_one) >= tokens]
    return Texts(texts.name, tuple(long[:limit]))


def chunks(texts: Texts, size: int) -> Sequence[Texts]:
    """The documents by `size` at a time."""
    documents = texts.documents
    return [
        Texts(texts.name, documents[start : start + size])
        for start in range(0, len(documents), size)
    ]
