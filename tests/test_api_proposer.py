"""Models behind HTTP: what they say is read, what they break or cost is counted."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from grammar.errors import InputError
from interpreter.texts import Texts, load_texts
from synth.api_proposer import ApiProposer, program_in
from synth.budget import Limits
from synth.chat_api import FIRST_WAIT, KEY, MAX_RESPONSE_BYTES
from synth.job import Settings
from synth.library import Library, StoredProposal
from synth.prompt import Prompt
from synth.proposers import Draft, Prices, Proposer, ProposerFailedError
from synth.results import RunResults, run_results
from synth.vllm_proposer import PROBE, VllmServerProposer, is_held
from tests.fake_api import (
    FakeApi,
    Handler,
    Reply,
    answer,
    completion,
    die,
    drip,
    drip_headers,
    fake_api,
    hang,
    send,
)
from tests.runs import tiny_run

PROMPT = Prompt((("system", "Explain."), ("user", "weight: first 90%")))
PRICES = Prices(read=1.0, written=10.0)
GOOD = ("6 first + 3 back(1)", "self", "3 noun + 1 stop", "first", "any", "2 self + 1 comma")
SECRET = "sk-very-secret"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, SECRET)


def proposer(api: FakeApi, timeout: float = 10) -> ApiProposer:
    return ApiProposer("model", api.url, PRICES, timeout)


def test_the_request_and_its_answers() -> None:
    with fake_api(answer(*GOOD, read=500, written=20)) as api:
        drafts = proposer(api).propose(PROMPT, 4, 7)
    assert [draft.text for draft in drafts] == [*GOOD[:4]]
    assert all(draft.finished and draft.tokens == 20 for draft in drafts)
    assert sum(draft.dollars for draft in drafts) == pytest.approx((500 * 1 + 80 * 10) / 1e6)
    (request,) = api.requests
    assert (request["model"], request["n"], request["seed"]) == ("model", 4, 7)
    assert request["messages"][0] == {"role": "system", "content": "Explain."}
    assert request["messages"][1]["content"].startswith("weight: first 90%")
    assert api.keys == [f"Bearer {SECRET}"]


@pytest.mark.parametrize(
    "said",
    [
        "self",
        "`self`",
        "```\nself\n```",
        "```text\nself\n```\nIt looks at itself.",
        "Program: self",
    ],
)
def test_programs_are_found_in_chatter(said: str) -> None:
    assert program_in(said) == "self"


def test_errors_are_told_once() -> None:
    replies = answer("self", "previous token"), answer("back(1)")
    with fake_api(*replies) as api:
        drafts = proposer(api).propose(PROMPT, 2, 0)
    assert [draft.text for draft in drafts] == ["self", "previous token", "back(1)"]
    told = api.requests[1]["messages"]
    assert told[-2] == {"role": "assistant", "content": "previous token"}
    assert "did you mean `back(1)`" in told[-1]["content"]
    assert len(api.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 500])
def test_a_correction_that_fails_leaves_the_first_answers(status: int) -> None:
    with fake_api(answer("self", "nonsense"), send(b"", status)) as api:
        asked = proposer(api)
        *first, lost = asked.propose(PROMPT, 2, 0)
    assert [draft.text for draft in first] == ["self", "nonsense"]
    assert f"status {status}" in lost.failure
    # What it may have cost counts as spent, and was in the estimate.
    assert 200 * PRICES.written / 1e6 < lost.dollars < asked.most_dollars(PROMPT, 2)


BROKEN: dict[str, tuple[Reply, str]] = {
    "hangs": (hang, "took over 0.3 s"),
    "drips": (drip, "took over 0.3 s"),
    "drips its headers": (drip_headers, "took over 0.3 s"),
    "dies": (die, "127.0.0.1"),
    "is broken": (send({"error": "oops"}, 500), "status 500"),
    "finds the prompt too long": (send({"error": "context_length_exceeded"}, 400), "status 400"),
    "finds the body too large": (send(b"", 413), "status 413"),
    "cannot process it": (send({"detail": "too long"}, 422), "status 422"),
    "sends no JSON": (send(b"<html>"), "no chat completion: JSONDecodeError"),
    "sends JSON too deep": (send(b"[" * 100_000), "no chat completion: RecursionError"),
    "sends no answers": (send(completion()), "no answers"),
    "sends another shape": (send({"choices": [{"text": "self"}]}), "no chat completion"),
    "sends a list": (send([]), "no chat completion"),
    "sends no text": (send(completion(None)), "no chat completion"),  # type: ignore[arg-type]
    "miscounts": (send(completion("self", written=-1)), "no chat completion"),
    "counts without bounds": (send(completion("self", read=10**400)), "no chat completion"),
    "sends too much": (send(b" " * (MAX_RESPONSE_BYTES + 1)), "too much"),
    "is busy": (send(b"", 429, Retry_After="3"), "busy"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_server_that(how: str) -> None:
    reply, message = BROKEN[how]
    # What sends much needs its time on a busy machine.
    timeout = 0.3 if message.startswith("took") else 10 if "much" in how else 2
    started = time.monotonic()
    with fake_api(reply) as api, pytest.raises(ProposerFailedError, match=message) as caught:
        proposer(api, timeout).propose(PROMPT, 2, 0)
    assert time.monotonic() - started < 20
    assert "\n" not in str(caught.value)


async def asked_from_a_loop(asked: ApiProposer) -> list[Draft]:
    return asked.propose(PROMPT, 1, 0)


def test_where_a_loop_is_running() -> None:
    with fake_api(answer("self")) as api:
        (draft,) = asyncio.run(asked_from_a_loop(proposer(api)))
    assert draft.text == "self"


def test_a_server_that_is_not_there() -> None:
    with fake_api(hang) as api:
        url = api.url
    with pytest.raises(ProposerFailedError, match=url):
        ApiProposer("model", url, PRICES).propose(PROMPT, 2, 0)
    with pytest.raises(InputError, match=f"no models at {url}"):
        VllmServerProposer(url)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_ends_the_run_and_keeps_the_key(status: int) -> None:
    reply = send({"error": f"bad key {SECRET}\n\x1b[2J"}, status)
    with fake_api(reply) as api, pytest.raises(InputError, match=f"status {status}") as caught:
        proposer(api).propose(PROMPT, 2, 0)
    assert SECRET not in str(caught.value)
    assert str(caught.value).isprintable()


ECHOES: dict[str, Reply] = {
    "status": send(f"no quota for {SECRET}".encode(), 500),
    "status, cut": send(("x" * 240 + SECRET).encode(), 500),
    "shape": send({"sent": SECRET}),
    "no JSON": send(SECRET.encode()),
}


@pytest.mark.parametrize("how", ECHOES)
def test_no_message_tells_the_key(how: str) -> None:
    with fake_api(ECHOES[how]) as api, pytest.raises(ProposerFailedError) as caught:
        proposer(api).propose(PROMPT, 2, 0)
    assert SECRET[:8] not in str(caught.value)


def test_what_is_around_a_key_is_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, f" {SECRET}\r\n")
    with fake_api(answer("self")) as api:
        proposer(api).propose(PROMPT, 1, 0)
    assert api.keys == [f"Bearer {SECRET}"]


@pytest.mark.parametrize("key", ["sk-très-secret", "sk-\rsecret", "sk-secret\udcff"])
def test_what_is_no_key(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv(KEY, key)
    with pytest.raises(InputError, match=KEY) as caught:
        ApiProposer("model", "http://127.0.0.1:9/v1", PRICES)
    assert "sk-" not in str(caught.value)


def test_texts_that_no_library_holds() -> None:
    with fake_api(answer("self", "half \ud800", "back(1)\0")) as api:
        *_, half, zero, last = proposer(api).propose(PROMPT, 3, 0)
    assert [half.text, zero.text, last.text] == ["half ?", "back(1)?", "self"]
    assert "half ?" in api.requests[1]["messages"][-2]["content"]


def unsupported(param: Any, code: str = "unsupported_parameter") -> Reply:
    message = f"'{param}' is not supported with this model."
    return send({"error": {"message": message, "param": param, "code": code}}, 400)


def test_a_server_that_takes_fewer_options_is_asked_by_others() -> None:
    others = ("temperature", "unsupported_value"), ("top_p", "unsupported_parameter")
    refusals = [unsupported("max_tokens"), *(unsupported(*other) for other in others)]
    with fake_api(*refusals, answer("self")) as api:
        asked = proposer(api)
        assert [d.text for d in asked.propose(PROMPT, 1, 0)] == ["self"]
        asked.propose(PROMPT, 1, 0)
    first, *_, last, later = api.requests
    assert len(api.requests) == 5
    assert {"max_tokens", "temperature", "top_p"} <= first.keys()
    for request in (last, later):
        assert request["max_completion_tokens"] == first["max_tokens"]
        assert not {"max_tokens", "temperature", "top_p"} & request.keys()
        assert request["seed"] == 0


def test_two_that_are_refused_at_once_both_ask_again() -> None:
    both = threading.Barrier(2)

    def refuse(handler: Handler, body: dict[str, Any]) -> None:
        if "max_tokens" in body:
            both.wait(10)
            unsupported("max_tokens")(handler, body)
        else:
            answer("self")(handler, body)

    with fake_api(refuse) as api, ThreadPoolExecutor(2) as pool:
        asked = proposer(api)
        answers = list(pool.map(lambda seed: asked.propose(PROMPT, 1, seed), range(2)))
    assert [[d.text for d in drafts] for drafts in answers] == [["self"], ["self"]]


@pytest.mark.parametrize("param", ["max_tokens", "messages", None, []])
def test_what_stays_unsupported_is_a_failure(param: Any) -> None:
    with fake_api(unsupported(param)) as api, pytest.raises(ProposerFailedError, match="400"):
        proposer(api).propose(PROMPT, 1, 0)
    assert len(api.requests) == (2 if param == "max_tokens" else 1)


def test_a_busy_server_is_asked_again() -> None:
    started = time.monotonic()
    with fake_api(send(b"", 429, Retry_After="0"), answer("self")) as api:
        assert [d.text for d in proposer(api).propose(PROMPT, 1, 0)] == ["self"]
    assert time.monotonic() - started >= FIRST_WAIT


def test_a_server_that_stays_busy_says_why() -> None:
    said = r"busy \(status 429\): no quota left"
    with (
        fake_api(send(b"no quota left", 429)) as api,
        pytest.raises(ProposerFailedError, match=said),
    ):
        proposer(api, timeout=0.5).propose(PROMPT, 1, 0)


def test_what_is_no_url() -> None:
    with pytest.raises(InputError, match="not the URL"):
        ApiProposer("model", "localhost:80", PRICES)


# vLLM


def held(*texts: str, **options: str) -> Reply:
    """A server that keeps to the grammar, as far as its answers do."""

    def reply(handler, body) -> None:
        probe = PROBE in body["structured_outputs"]["grammar"]
        answer(*((PROBE,) if probe else texts), **options)(handler, body)

    return reply


def test_a_server_held_to_the_grammar() -> None:
    with fake_api(held(*GOOD)) as api:
        drafts = VllmServerProposer(api.url.removesuffix("/v1")).propose(PROMPT, 3, 5)
    assert [draft.text for draft in drafts] == [*GOOD[:3]]
    assert "start:" in api.requests[1]["structured_outputs"]["grammar"]


def test_a_server_that_knows_no_grammars_is_refused() -> None:
    unknown = send({"error": "structured_outputs: extra fields not permitted"}, 400)
    with fake_api(unknown) as api, pytest.raises(InputError, match="not permitted"):
        VllmServerProposer(api.url)


def test_a_server_that_ignores_grammars_is_refused() -> None:
    chatty = answer("Hello! How can I help you?")
    with fake_api(chatty) as api, pytest.raises(InputError, match="ignores grammars"):
        VllmServerProposer(api.url)
    for options in ({}, {"finish": "length"}):
        with fake_api(held("a poem", **options)) as api:
            server = VllmServerProposer(api.url)
            with pytest.raises(InputError, match="does not keep to the grammar: 'a poem'"):
                server.propose(PROMPT, 2, 0)


@pytest.mark.parametrize(
    ("text", "finished", "cut_off"),
    [
        *(("self", True, True), ("6 first + 3 ne", False, True), ("", False, True)),
        *(('3 word("caf\ufffd', False, True), ("self is it", False, False)),
        ("self\ufffd", False, True),
    ],
)
def test_what_the_grammar_lets_a_model_write(text: str, finished: bool, cut_off: bool) -> None:
    assert is_held(text, finished=True) == finished
    assert is_held(text, finished=False) == cut_off


# In a run


TEXTS = Texts("few", load_texts("stories").documents[:6])
HEADS = ((0, 1), (1, 2))
NONE = Limits()


def run(
    path: Path, asked: Proposer, limits: Limits = NONE
) -> tuple[RunResults, list[StoredProposal]]:
    """The results, and what the proposer wrote or failed to."""
    settings = Settings(heads=HEADS, budget=24, seed=3, max_tokens=16, limits=limits)
    with Library.open(path, create=True) as library:
        made = tiny_run(asked, TEXTS, library, settings, path.parent / "patterns")
        written = [p for p in library.proposals(made) if p.stage == "language model"]
        return run_results(library, made), written


@pytest.fixture
def path(tmp_path: Path, tagger) -> Path:
    return tmp_path / "l.sqlite"


def test_each_failure_costs_its_own_batch(path: Path) -> None:
    good = answer(*GOOD)
    with fake_api(good, die, good, drip, send(b"{"), good) as api:
        results, written = run(path, proposer(api, 0.5))
    assert results.reject_codes == {"failed": 3}
    assert len(written) == 3 * 8 + 3
    assert [p.batch for p in written if p.code == "failed"] == [1, 0, 1]
    assert all(p.dollars > 0 for p in written)
    assert all("\n" not in (p.message or "") for p in written)


def test_three_failures_in_a_row_end_the_run_and_lose_nothing(path: Path) -> None:
    good = answer(*GOOD)
    with fake_api(good, die, die, die, good) as api:
        with pytest.raises(InputError, match=r"failed 3 times in a row, last for L1H2") as caught:
            run(path, proposer(api))
        assert "goes on from here" in str(caught.value)
        results, written = run(path, proposer(api))
    assert results.reject_codes == {"failed": 3}
    assert len(written) == 8 + 3 + 2 * 8
    assert len(api.requests) == 6


def test_money_is_never_overspent(path: Path) -> None:
    with fake_api(answer(*GOOD, read=2000, written=100)) as api:
        asked = proposer(api)
        # Each batch costs 0.01 dollars, and may cost more before it is known.
        results, written = run(path, asked, Limits(dollars=0.07))
    spent = sum(p.dollars for p in written)
    assert 0.01 <= spent <= 0.07
    assert len(api.requests) == len(written) / 8 < 6
    assert results.spent.dollars == pytest.approx(spent)
    assert results.stopped_by == "dollars"


def test_a_bill_beyond_all_bounds_ends_it(path: Path) -> None:
    with fake_api(answer(*GOOD, read=10_000_000)) as api:
        results, written = run(path, proposer(api), Limits(dollars=1.0))
    assert len(api.requests) == 1
    assert sum(p.dollars for p in written) > 10
    assert results.heads


@pytest.mark.parametrize(
    "limits", [Limits(tokens=150), Limits(evaluations=9), Limits(seconds=1e-9)]
)
def test_other_limits(path: Path, limits: Limits) -> None:
    with fake_api(answer(*GOOD)) as api:
        results, written = run(path, proposer(api), limits)
        assert getattr(limits, results.stopped_by or "") is not None
        assert len(api.requests) == (1 if limits.seconds else 2)
        # The same again spends no more.
        assert run(path, proposer(api), limits)[1] == written
        assert len(api.requests) == (1 if limits.seconds else 2)
