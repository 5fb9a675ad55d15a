"""Texts from files: what is read, and what is refused with a line that helps."""

from pathlib import Path

import pytest

from grammar.errors import InputError
from interpreter.texts import Texts, load_texts


def test_own_corpus_is_split_by_document() -> None:
    texts = load_texts("stories")
    assert len(texts.documents) >= 40
    assert all(100 <= len(d.split()) <= 200 for d in texts.documents)
    parts = texts.split()
    assert {name: len(part.documents) for name, part in parts.items()} == {
        "train": 30,
        "select": 15,
        "test": 15,
    }
    together = [d for part in parts.values() for d in part.documents]
    assert sorted(together) == sorted(texts.documents)
    assert len({part.sha256 for part in parts.values()}) == 3


def test_txt_and_jsonl_give_the_same_documents(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One day.\n\nTwo.\n<|endoftext|>\nThree é.\n", encoding="utf-8")
    (tmp_path / "a.jsonl").write_text('{"text": "One day.\\n\\nTwo."}\n\n{"text": "Three é."}\n')
    first, second = (load_texts(str(tmp_path / name)) for name in ("a.txt", "a.jsonl"))
    assert first.documents == second.documents == ("One day.\n\nTwo.", "Three é.")
    assert first.sha256 == second.sha256
    assert Texts("x", ("ab", "c")).sha256 != Texts("x", ("a", "bc")).sha256


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", "no text in it"),
        ("blank.jsonl", b"\n\n", "no text in it"),
        ("binary.txt", b"a\x00b", "binary"),
        ("latin.txt", "é".encode("latin-1"), "not UTF-8"),
        ("mark.txt", b"\xef\xbb\xbfab\xff", "byte 5 is 0xff"),
        ("bad.jsonl", b'{"text": "a"}\n{"text": \n', "line 2: not JSON"),
        ("deep.jsonl", b"[" * 100_000, "line 1: not JSON"),
        ("other.jsonl", b'{"story": "a"}\n', 'line 1: no "text" field'),
        ("number.jsonl", b'{"text": 3}\n', 'line 1: no "text" field'),
        ("list.jsonl", b"[1]\n", 'line 1: no "text" field'),
        ("half.jsonl", b'{"text": "\\ud800"}\n', "line 1: a lone surrogate"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_texts(str(tmp_path / name))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_folder_and_too_few(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        load_texts(str(tmp_path / "none.jsonl"))
    with pytest.raises(InputError, match="a folder"):
        load_texts(str(tmp_path))
    with pytest.raises(InputError, match="too few to split"):
        Texts("x", ("a b", "c d")).split()


def test_a_data_set_with_split_and_column(tmp_path: Path) -> None:
    lines = ['{"problem": "Two and two?"}', '{"problem": null}', '{"problem": "Why?"}']
    (tmp_path / "test.jsonl").write_text("\n".join(lines))
    assert load_texts(f"{tmp_path}:test:problem").documents == ("Two and two?", "Why?")
    assert load_texts(f"{tmp_path}:test:problem", 1).documents == ("Two and two?",)
    with pytest.raises(InputError, match=r"no column `text` in .*, which has problem: name one as"):
        load_texts(f"{tmp_path}:test")
    with pytest.raises(InputError, match="neither a file nor a data set"):
        load_texts(f"{tmp_path}:train:problem")
    (tmp_path / "test.jsonl").write_text('{"problem": null}')
    with pytest.raises(InputError, match="no text in it"):
        load_texts(f"{tmp_path}:test:problem")
