"""The proposer `vllm`: a vLLM server whose decoding is held to the grammar.

The server keeps what prompts share (prefix caching) and answers many requests at once.  A server
that ignores the grammar, as older ones do silently, is noticed by a question that only a held
model answers as it must, and by reading every answer.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial

from anyio.from_thread import BlockingPortal, start_blocking_portal
from llguidance import LLMatcher, LLTokenizer

from grammar.errors import InputError
from grammar.grammar_file import PATH
from synth.chat_api import TIMEOUT, ChatApi
from synth.prompt import Prompt
from synth.proposers import MAX_NEW_TOKENS, TEMPERATURE, TOP_P, Draft, ProposerFailedError

PROBE = "zebra-quilt-71"
"""What no model says unless it is held to a grammar that knows nothing else."""


@cache
def _grammar() -> str:
    return PATH.read_text(encoding="utf-8")


@cache
def _start() -> LLMatcher:
    return LLMatcher(LLTokenizer("byte"), LLMatcher.grammar_from_lark(_grammar()))


def is_held(text: str, *, finished: bool) -> bool:
    """Whether the grammar lets a model write this: a program, or the beginning of one."""
    # Where it is cut off within a character, a server puts a mark for that.
    written = text if finished else text.rstrip("\N{REPLACEMENT CHARACTER}")
    held, tokens = _start().deep_copy(), list(written.encode())
    read: int = held.try_consume_tokens(tokens)
    return read == len(tokens) and (not finished or held.is_accepting())


class VllmServerProposer:
    """A server at a URL such as http://127.0.0.1:8000, which serves one model.

    Raises InputError where there is none, or one that ignores grammars.
    """

    def __init__(self, url: str, timeout: float = TIMEOUT) -> None:
        self._url = url
        self._timeout = timeout
        api = self._api(1)
        served = api.models()
        if not served:
            raise InputError(f"the server at {url} has no model: start it with one")
        self._model = served[0]
        try:
            answers = api.complete(
                self._model,
                [("user", "Say hello.")],
                max_tokens=20,
                structured_outputs={"grammar": f'start: "{PROBE}"'},
            )
        except ProposerFailedError as error:
            raise InputError(f"the server at {url} does not answer: {error}") from error
        if answers.texts[:1] != (PROBE,):
            raise InputError(
                f"the server at {url} ignores grammars: use vLLM 0.12 or later, or name it as "
                f"api:{self._model}@{url}/v1"
            )

    @property
    def name(self) -> str:
        """vllm:MODEL as the server calls it."""
        return f"vllm:{self._model}"

    def _api(self, requests: int, portal: BlockingPortal | None = None) -> ChatApi:
        """The server for so many requests at once: the last may wait for all others."""
        base_url = self._url.rstrip("/").removesuffix("/v1") + "/v1"
        return ChatApi(base_url, self._timeout * requests, portal)

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        """`count` samples of at most `MAX_NEW_TOKENS` tokens each; other ones if asked again."""
        return self._drafts(self._api(1), count, prompt)

    def propose_many(self, prompts: Sequence[Prompt], count: int) -> list[list[Draft] | Exception]:
        """For each prompt what `propose` would return or raise; all are asked at the same time."""
        started = time.monotonic()
        # The portal is left first: interrupted, it ends the requests that the threads wait for.
        with ThreadPoolExecutor(len(prompts)) as pool, start_blocking_portal() as portal:
            ask = partial(self._drafts_or_error, self._api(len(prompts), portal), count)
            answers = list(pool.map(ask, prompts))
        seconds = (time.monotonic() - started) / (len(prompts) * count)
        return [
            answer
            if isinstance(answer, Exception)
            else [replace(draft, seconds=seconds) for draft in answer]
            for answer in answers
        ]

    def _drafts_or_error(self, api: ChatApi, count: int, prompt: Prompt) -> list[Draft] | Exception:
        try:
            return self._drafts(api, count, prompt)
        except InputError:
            raise
        except Exception as error:  # whatever a request dies of costs its own batch
            return error

    def _drafts(self, api: ChatApi, count: int, prompt: Prompt) -> list[Draft]:
        started = time.monotonic()
        answers = api.complete(
            self._model,
            prompt.messages,
            # No seed: with one, vLLM 0.32 ends on a CPU when it reads a prompt in parts.
            n=count,
            max_tokens=MAX_NEW_TOKENS,
            temperature=TEMPERATURE,
            top_p=TOP_P,
            structured_outputs={"grammar": _grammar()},
        )
        seconds = (time.monotonic() - started) / count
        for text, finished in zip(answers.texts, answers.finished, strict=True):
            if not is_held(text, finished=finished):
                raise InputError(
                    f"the server at {self._url} does not keep to the grammar: {text!r:.80}"
                )
        each = answers.written // len(answers.texts)
        return [
            Draft(text, finished, each, seconds)
            for text, finished in zip(answers.texts, answers.finished, strict=True)
        ]
