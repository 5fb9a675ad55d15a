"""A tagger that remembers says the same, and reads no text twice."""

import dataclasses

import torch

from grammar.parser import parse_or_raise
from interpreter.evaluate import Evaluator
from interpreter.rows import rows_of_ids
from interpreter.tag_cache import remembering
from interpreter.texts import load_texts
from tests.tiny_models import tiny


class Counted:
    """A tagger that notes what it is asked."""

    def __init__(self, tagger) -> None:
        self.max_length = tagger.max_length
        self.read: list[str] = []
        self._tagger = tagger

    def pipe(self, texts):
        texts = list(texts)
        self.read += texts
        return self._tagger.pipe(texts)


def test_rows_are_the_same_and_no_prefix_is_read_twice(tagger) -> None:
    loaded = tiny("llama")
    question, other = (
        loaded.tokenizer(text)["input_ids"][:20] for text in load_texts("stories").documents[:2]
    )
    # Two answers to one question, then a third, then another question.
    passes = [[question + other[:6], question + other[6:12]], [question + other[8:14]], [other]]
    counted = Counted(tagger)
    remembered = remembering(counted)  # type: ignore[arg-type]
    tree = parse_or_raise("40 governor + 30 recent(noun) + 30 sentence_start")
    for rows in passes:
        ids = torch.tensor(rows)
        found, expected = (
            rows_of_ids(loaded, whose, "prefix", ids, torch.ones_like(ids), device="cpu")
            for whose in (remembered, tagger)
        )
        for field in dataclasses.fields(expected.facts):
            here, there = (getattr(r.facts, field.name) for r in (found, expected))
            assert torch.equal(here, there) if torch.is_tensor(here) else here == there, field.name
        matrices = [r.placed(Evaluator(r.facts).matrices(tree)) for r in (found, expected)]
        assert torch.equal(*matrices)
    assert len(counted.read) == len(set(counted.read))
    assert len(counted.read) <= 20 + 3 * 6 + 20


def test_what_was_not_asked_for_long_is_forgotten(tagger) -> None:
    counted = Counted(tagger)
    remembered = remembering(counted, most=2)  # type: ignore[arg-type]
    for texts in (["a cat", "a dog"], ["a cat", "a cow"], ["a cat"], ["a dog"]):
        assert [doc.text for doc in remembered.pipe(texts)] == texts
    assert counted.read == ["a cat", "a dog", "a cow", "a dog"]
