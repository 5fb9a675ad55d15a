"""Captured patterns on disk are those that were captured."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from grammar.errors import InputError
from interpreter.capture import Captured, captured
from interpreter.stored_patterns import joined, read_patterns, save_patterns
from interpreter.texts import Texts, load_texts
from tests.tiny_models import tiny

HEADS = ((0, 1), (1, 2), (1, 3))


def some(first: int, last: int) -> Captured:
    texts = Texts("few", load_texts("stories").documents[first:last])
    return captured(tiny("llama"), texts, HEADS, 24)


def same(one: Captured, other: Captured) -> None:
    assert (one.heads, one.tokens, one.causal) == (other.heads, other.tokens, other.causal)
    assert torch.equal(one.attention, other.attention)
    assert torch.equal(one.values, other.values)


def test_what_is_read_is_what_was_saved(tmp_path: Path, tagger) -> None:
    patterns = some(0, 3)
    save_patterns(patterns, tmp_path / "a.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
    same(read_patterns(tmp_path / "a.safetensors"), patterns)
    few = read_patterns(tmp_path / "a.safetensors", ((1, 3), (0, 1)))
    assert few.heads == ((1, 3), (0, 1))
    for head in few.heads:
        assert torch.equal(few.head(head), patterns.head(head))
    with safe_open(tmp_path / "a.safetensors", framework="np") as file:
        assert file.get_slice("attention").get_shape() == [3, 3, 24, 24]
        assert file.metadata()["heads"] == "[[0, 1], [1, 2], [1, 3]]"


def test_parts_are_joined_as_if_captured_together(tagger) -> None:
    short = Texts("short", ("A cat sat.", load_texts("stories").documents[0]))
    whole = captured(tiny("llama"), short, HEADS, 24)
    parts = [
        captured(tiny("llama"), Texts("one", (document,)), HEADS, 24)
        for document in short.documents
    ]
    found = joined(parts)
    assert found.tokens == whole.tokens
    torch.testing.assert_close(found.attention, whole.attention, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(found.values, whole.values, atol=1e-5, rtol=1e-4)


def test_files_of_others_are_refused(tmp_path: Path, tagger) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(InputError, match="capture the patterns again"):
        read_patterns(path)
    save_file({"attention": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="holds no captured patterns"):
        read_patterns(path)
    save_patterns(some(0, 1), path)
    with pytest.raises(InputError, match=r"lacks head \(0, 0\)"):
        read_patterns(path, ((0, 0),))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="capture the patterns again"):
        read_patterns(path)
