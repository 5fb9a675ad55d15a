"""Proposers that answer several prompts at once are asked about all heads, batch by batch."""

import sys
import time
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from signal import SIGINT, default_int_handler, pthread_kill, signal
from threading import Barrier, Thread, get_ident
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from grammar.errors import InputError
from interpreter.capture import Captured, capture
from synth.budget import Limits
from synth.job import Settings
from synth.library import Library, StoredProposal
from synth.mutation import MutationProposer
from synth.prompt import Prompt, PromptWriter
from synth.proposers import Concurrent, Draft, Proposer, ProposerFailedError
from synth.proposing import Rounds
from synth.vllm_in_process import VllmProposer
from synth.vllm_proposer import PROBE, VllmServerProposer
from tests.fake_api import FakeApi, Handler, fake_api, hang, send
from tests.test_api_proposer import GOOD, PROMPT, held
from tests.test_proposing import HEADS, TEXTS
from tests.tiny_models import tiny

OTHER = Prompt((("system", "Explain."), ("user", "weight: first 10%")))


@pytest.fixture(scope="module")
def patterns(tagger: Any) -> Captured:
    return capture(tiny("llama"), TEXTS, HEADS, 24)


class Many:
    """Mutation that answers several prompts at once; some answers are lost, by their number."""

    name = "many"

    def __init__(self, *lost: int, dies: bool = False) -> None:
        self._lost = lost
        self._dies = dies
        self.asked: list[Sequence[Prompt]] = []

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        (answer,) = self.propose_many([prompt], count)
        assert isinstance(answer, list)
        return answer

    def propose_many(self, prompts: Sequence[Prompt], count: int) -> list[list[Draft] | Exception]:
        first = sum(map(len, self.asked))
        self.asked.append(prompts)
        if self._dies:
            raise RuntimeError("out of memory")
        return [
            ProposerFailedError("hung up")
            if number in self._lost
            else MutationProposer().propose(prompt, count, number)
            for number, prompt in enumerate(prompts, first)
        ]


def asked(
    library: Library, patterns: Captured, proposer: Proposer, limits: Limits | None = None
) -> list[StoredProposal]:
    """What the proposer wrote in the one run of the library, 8, 8 and 4 programs for each head."""
    run = library.start_run(
        key="k", model="tiny", model_revision="0", texts_sha256="0", settings={}
    )
    settings = Settings(heads=HEADS, budget=20, seed=5, max_tokens=24, limits=limits or Limits())
    Rounds(run, patterns, proposer, library, settings).run()
    return [p for p in library.proposals(run) if p.stage == "language model"]


@pytest.fixture
def library() -> Library:
    return Library.in_memory("new")


def places(proposals: list[StoredProposal]) -> list[tuple[int, tuple[int, int]]]:
    """The batches that hold programs, in their order."""
    return list(dict.fromkeys((p.batch, (p.layer, p.head)) for p in proposals if p.text))


def test_a_batch_of_every_head_and_then_the_next(
    library: Library, patterns: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposer = Many()
    examples: list[int] = []

    def add_example(self: PromptWriter, text: str) -> None:
        examples.append(len(proposer.asked))

    monkeypatch.setattr(PromptWriter, "add_example", add_example)
    monkeypatch.setattr("synth.proposing.GAIN", -1.0)
    proposals = asked(library, patterns, proposer)
    assert [len(prompts) for prompts in proposer.asked] == [3, 3, 3]
    assert places(proposals) == [(batch, head) for batch in range(3) for head in HEADS]
    assert len(proposals) == 3 * 20
    # Each head is told of its own best program, which is an example for the next batches.
    told = [prompt.messages[-1][1].startswith("That scores") for prompt in proposer.asked[1]]
    assert told == [True] * 3
    assert examples == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    # The same again asks for nothing.
    assert asked(library, patterns, proposer) == proposals
    assert len(proposer.asked) == 3


def test_a_lost_answer_costs_its_own_batch(library: Library, patterns: Captured) -> None:
    proposals = asked(library, patterns, Many(1, 2, 5, 6))
    lost = [(p.batch, (p.layer, p.head)) for p in proposals if p.code == "failed"]
    assert lost == [(0, HEADS[1]), (0, HEADS[2]), (1, HEADS[2]), (2, HEADS[0])]
    assert len(places(proposals)) == 9 - 4


def test_a_row_of_lost_batches_ends_it_and_it_goes_on(
    library: Library, patterns: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synth.proposing.FAILURES", 2)
    with pytest.raises(InputError, match="failed 2 times in a row, last for L1H3: hung up"):
        asked(library, patterns, Many(*range(6)))
    proposer = Many()
    proposals = asked(library, patterns, proposer)
    assert [len(prompts) for prompts in proposer.asked] == [3]
    assert len(places(proposals)) == 9 - 6


def test_what_dies_as_a_whole_costs_its_batches_and_counts_once(
    library: Library, patterns: Captured
) -> None:
    with pytest.raises(InputError, match=r"3 times in a row.*out of memory"):
        asked(library, patterns, Many(dies=True))
    (run,) = library.runs()
    assert sum(p.code == "failed" for p in library.proposals(run)) == 3 * 3


def test_a_limit_is_looked_at_before_every_batch(library: Library, patterns: Captured) -> None:
    proposer = Many()
    proposals = asked(library, patterns, proposer, Limits(evaluations=9))
    assert [len(prompts) for prompts in proposer.asked] == [1, 1]
    assert places(proposals) == [(0, HEADS[0]), (1, HEADS[0])]


# vLLM


def test_a_server_is_asked_at_the_same_time() -> None:
    together = Barrier(2)

    def reply(handler: Handler, body: dict[str, Any]) -> None:
        if PROBE not in body["structured_outputs"]["grammar"]:
            together.wait(10)
        told = body["messages"][-1]["content"]
        held(*(GOOD if told.endswith("90%") else GOOD[1:]))(handler, body)

    with fake_api(reply) as api:
        proposer = VllmServerProposer(api.url)
        assert isinstance(proposer, Concurrent)
        first, second = proposer.propose_many([PROMPT, OTHER], 2)
    assert isinstance(first, list)
    assert isinstance(second, list)
    assert [draft.text for draft in first] == [*GOOD[:2]]
    assert [draft.text for draft in second] == [*GOOD[1:3]]
    # What one waits for is shared out.
    assert len({draft.seconds for draft in first + second}) == 1


def test_a_request_that_fails_is_told_beside_the_others() -> None:
    def reply(handler: Handler, body: dict[str, Any]) -> None:
        fails = body["messages"] == [{"role": r, "content": c} for r, c in OTHER.messages]
        (send(b"", 500) if fails else held(*GOOD))(handler, body)

    with fake_api(reply) as api:
        drafts, error = VllmServerProposer(api.url).propose_many([PROMPT, OTHER], 2)
    assert isinstance(drafts, list)
    assert "status 500" in str(error)


def test_the_last_request_may_wait_for_the_others() -> None:
    def slow(handler: Handler, body: dict[str, Any]) -> None:
        server: FakeApi = handler.server
        server.leaving.wait(0 if PROBE in body["structured_outputs"]["grammar"] else 1.5)
        held(*GOOD)(handler, body)

    with fake_api(slow) as api:
        proposer = VllmServerProposer(api.url, timeout=1)
        answers = proposer.propose_many([PROMPT] * 4, 2)
        with pytest.raises(ProposerFailedError, match="took over 1 s"):
            proposer.propose(PROMPT, 2, 0)
    assert all(isinstance(answer, list) for answer in answers)


def test_an_interrupt_ends_the_requests_that_are_on_their_way() -> None:
    """The server would leave them waiting for half a minute."""
    arrived = Barrier(3)

    def late(handler: Handler, body: dict[str, Any]) -> None:
        if PROBE in body["structured_outputs"]["grammar"]:
            held(*GOOD)(handler, body)
        else:
            arrived.wait(10)
            hang(handler, body)

    def interrupt() -> None:
        arrived.wait(10)
        pthread_kill(waiting, SIGINT)

    waiting = get_ident()
    before = signal(SIGINT, default_int_handler)
    try:
        with fake_api(late) as api:
            proposer = VllmServerProposer(api.url)
            Thread(target=interrupt).start()
            started = time.monotonic()
            with pytest.raises(KeyboardInterrupt):
                proposer.propose_many([PROMPT, OTHER], 2)
            assert time.monotonic() - started < 10
    finally:
        signal(SIGINT, before)


def test_vllm_in_this_process_gets_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    chats: list[Any] = []

    class Engine:
        def __init__(self, **_: Any) -> None:
            pass

        def chat(self, asked: list[Any], parameters: Any, use_tqdm: bool) -> list[Any]:
            chats.append(asked)
            output = SimpleNamespace(text="self", finish_reason="stop", token_ids=[1, 2])
            return [SimpleNamespace(outputs=[output] * parameters.n) for _ in asked]

    vllm, sampling = ModuleType("vllm"), ModuleType("vllm.sampling_params")
    vllm.__spec__ = ModuleSpec("vllm", None)
    vars(vllm).update(LLM=Engine, SamplingParams=SimpleNamespace)
    vars(sampling).update(StructuredOutputsParams=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", sampling)
    proposer = VllmProposer("some/model")
    assert isinstance(proposer, Concurrent)
    answers = proposer.propose_many([PROMPT, OTHER], 3)
    assert [len(answer) for answer in answers if isinstance(answer, list)] == [3, 3]
    assert [[turns[-1]["content"] for turns in asked] for asked in chats] == [
        [PROMPT.messages[-1][1], OTHER.messages[-1][1]]
    ]
    assert proposer.propose(PROMPT, 1, 0)[0].text == "self"
