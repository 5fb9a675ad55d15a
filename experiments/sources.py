"""Texts that are no stories: Python code, and questions with their answers, as plain documents."""

import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

from grammar.errors import InputError
from interpreter.models import LoadedModel
from interpreter.texts import Texts, json_lines, load_texts, read_text

CODE = "code"
CHARACTERS = 3_000
"""Of a document: enough for 512 tokens."""
CODE_DOCUMENTS = 48
CHARACTERS_A_TOKEN = 6
"""More than most texts have: pieces of so many hold the tokens that are wanted."""


def source_texts(source: str) -> Texts:
    """`code`, or texts as `load_texts` knows them, or a .jsonl file of questions."""
    if source == CODE:
        return code_texts()
    return question_texts(Path(source)) if _asks(source) else load_texts(source)


def code_texts() -> Texts:
    """Classes of Python's standard library, each from its first line, without the file's head."""
    found = []
    for text in standard_library():
        _, mark, rest = text.partition("\nclass ")
        if len(rest) >= CHARACTERS:
            found.append((mark + rest).lstrip("\n")[:CHARACTERS])
    return Texts(CODE, tuple(found[:: max(1, len(found) // CODE_DOCUMENTS)][:CODE_DOCUMENTS]))


def standard_library() -> Iterator[str]:
    """The modules of Python's standard library, by name."""
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        yield path.read_text(encoding="utf-8")


def long_texts(loaded: LoadedModel, source: str, count: int, tokens: int) -> Texts:
    """So many texts with at least so many tokens, no two from the same place.

    What the source holds (with `code` all of it) is put together and cut into pieces.  InputError
    where there are too few.
    """
    whole = "\n\n".join(standard_library() if source == CODE else source_texts(source).documents)
    size = CHARACTERS_A_TOKEN * tokens
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    long = at_least(loaded, Texts(f"{source}, in pieces", tuple(pieces)), tokens, len(pieces))
    if len(long.documents) < count:
        raise InputError(
            f"{source} gives {len(long.documents)} texts of {tokens} tokens, not {count}: "
            "ask for fewer, or name other --texts"
        )
    return Texts(long.name, long.documents[:: len(long.documents) // count][:count])


def question_texts(path: Path) -> Texts:
    """Questions of a .jsonl file with `question` and `choices`, one below the other.

    One question is too short to be read at every length, so a document holds as many as fill it.
    """
    documents, current = [], ""
    for place, record in json_lines(read_text(path), path.name):
        if not isinstance(record, dict) or not isinstance(record.get("choices"), list):
            raise InputError(f"{place}: no list of `choices`")
        lines = [record.get("question"), *record["choices"]]
        if not all(isinstance(line, str) for line in lines):
            raise InputError(f"{place}: `question` and each of the `choices` are texts")
        current += "\n".join(lines) + "\n\n"
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
