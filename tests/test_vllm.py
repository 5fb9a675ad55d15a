"""A real vLLM server; by name: `make vllm` in one terminal, `pytest -m vllm` in another."""

import os

import pytest

from grammar.canonical import canonical_text
from grammar.errors import InputError
from grammar.rejection import Rejection
from synth.chat_api import ChatApi
from synth.vllm_proposer import VllmServerProposer
from tests.golden_prompt import golden_prompt

pytestmark = pytest.mark.vllm

PATIENT = 600.0
"""Seconds: the machine may do other things."""

URL = os.environ.get("HEADSCRIPT_VLLM_URL", "http://127.0.0.1:8000")


@pytest.fixture(scope="module")
def server() -> VllmServerProposer:
    return VllmServerProposer(URL, PATIENT)


def test_every_finished_draft_is_a_program(server: VllmServerProposer, tagger) -> None:
    prompt = golden_prompt()
    drafts = [draft for seed in range(2) for draft in server.propose(prompt, 16, seed)]
    finished = [draft.text for draft in drafts if draft.finished]
    assert len(drafts) == 32
    assert len(finished) > 8
    assert len(set(finished)) > 4
    for text in finished:
        assert not isinstance(canonical_text(text), Rejection), text


def test_the_same_server_without_the_grammar_writes_no_programs(tagger) -> None:
    api = ChatApi(f"{URL}/v1", PATIENT)
    (model, *_) = api.models()
    answers = api.complete(model, golden_prompt().messages[-1:], n=8, max_tokens=40, seed=0)
    assert any(isinstance(canonical_text(text), Rejection) for text in answers.texts)


def test_a_field_that_the_server_ignores_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Older servers knew `structured_outputs` no better than this one knows another name."""
    complete = ChatApi.complete

    def renamed(self, model, messages, structured_outputs, **options):
        return complete(self, model, messages, guided_grammar=structured_outputs, **options)

    monkeypatch.setattr(ChatApi, "complete", renamed)
    with pytest.raises(InputError, match="ignores grammars"):
        VllmServerProposer(URL, PATIENT)
