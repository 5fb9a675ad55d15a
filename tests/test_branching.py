"""Branches of one sequence say what each would say alone; a model held to the grammar obeys it."""

import pytest
import torch
from torch import Tensor

from grammar.canonical import canonical_text
from grammar.errors import InputError
from grammar.rejection import Rejection
from interpreter.branching import Branching
from synth.outlines_proposer import OutlinesProposer
from synth.prompt import Prompt
from tests.tiny_models import tiny, writer

CHUNKS = [[5, 9, 200, 31, 7], [11, 12, 13, 14, 15, 16, 17], [3, 2, 1]]
BRANCHES = [[40, 41, 42, 43], [50, 60, 70, 80], [40, 3, 3, 3]]
WIDE = list(range(30))
"""More tokens than the tiny models with a sliding window can look back."""


def alone(family: str, ids: list[int]) -> Tensor:
    """[vocabulary]: the last logits of the plain model, which has read these tokens and no more."""
    model = tiny(family).model
    with torch.no_grad():
        logits: Tensor = model(torch.tensor([ids])).logits[0, -1]
    return logits


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "gemma3"])
def test_each_branch_is_as_if_alone(family: str) -> None:
    branching = Branching(tiny(family))
    chunks = [*CHUNKS, WIDE]
    prompt = [token for chunk in chunks for token in chunk]
    torch.testing.assert_close(branching.start(chunks), alone(family, prompt))
    for step, tokens in enumerate(zip(*BRANCHES, strict=True), 1):
        together = branching.step(torch.tensor(tokens))
        for row, branch in zip(together, BRANCHES, strict=True):
            torch.testing.assert_close(row, alone(family, prompt + branch[:step]))


def test_what_was_asked_before_changes_no_bit() -> None:
    fresh = Branching(tiny("llama"))
    expected = [fresh.start(CHUNKS), fresh.step(torch.tensor([1, 2]))]
    used = Branching(tiny("llama"))
    for before in ([CHUNKS[0], CHUNKS[2]], [*CHUNKS, WIDE], CHUNKS, [CHUNKS[1]]):
        used.start(before)
        used.step(torch.tensor([7, 8, 9]))
        found = [used.start(CHUNKS), used.step(torch.tensor([1, 2]))]
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_shared_chunks_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    branching = Branching(tiny("llama"))
    read: list[int] = []
    forward = Branching._forward

    def counted(self: Branching, tokens: Tensor, positions: Tensor, owners: Tensor) -> Tensor:
        read.append(len(tokens))
        return forward(self, tokens, positions, owners)

    monkeypatch.setattr(Branching, "_forward", counted)
    branching.start([*CHUNKS, WIDE])
    branching.start([*CHUNKS, [1, 2]])
    assert read == [5, 7, 3, 30, 2]


def test_a_model_that_is_not_causal() -> None:
    with pytest.raises(InputError, match="cannot write programs"):
        Branching(tiny("bert"))


@pytest.fixture(scope="module")
def proposer(tmp_path_factory: pytest.TempPathFactory) -> OutlinesProposer:
    return OutlinesProposer(writer(tmp_path_factory.mktemp("writer")))


PROMPT = Prompt((("system", "Explain."), ("user", "a"), ("assistant", "first"), ("user", "b")))


def test_drafts_of_a_model_held_to_the_grammar(proposer: OutlinesProposer) -> None:
    drafts = [d for seed in range(4) for d in proposer.propose(PROMPT, 6, seed)]
    assert len(drafts) == 24
    for draft in drafts:
        if draft.finished:
            assert not isinstance(canonical_text(draft.text), Rejection), draft.text
        else:
            assert draft.tokens == 80
    assert len({draft.text for draft in drafts}) > 12
    assert any(draft.finished for draft in drafts)


def test_the_same_seed_gives_the_same_drafts(proposer: OutlinesProposer) -> None:
    first = proposer.propose(PROMPT, 3, 5)
    proposer.propose(Prompt((("system", "Other."), ("user", "c"))), 2, 5)
    again = proposer.propose(PROMPT, 3, 5)
    assert [(d.text, d.finished, d.tokens) for d in again] == [
        (d.text, d.finished, d.tokens) for d in first
    ]


def test_the_chunks_are_the_prompt(proposer: OutlinesProposer) -> None:
    chunks = proposer._chunks(PROMPT)
    assert [token for chunk in chunks for token in chunk] == proposer._ids(PROMPT)
