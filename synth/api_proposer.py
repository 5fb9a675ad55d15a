"""The proposer `api`: a model behind an OpenAI-compatible API that cannot be held to a grammar.

It sees the same prompt as the others.  Its answers are read, those that are no programs are
counted as rejected, and shown to it once, each with its error.
"""

import time
from collections.abc import Iterable

from grammar.canonical import canonical_text
from grammar.rejection import Rejection
from synth.chat_api import TIMEOUT, Answers, ChatApi
from synth.prompt import Prompt
from synth.proposers import TEMPERATURE, TOP_P, Draft, Prices, failure

MAX_ANSWER_TOKENS = 200
CHARACTERS_PER_TOKEN = 2
"""Fewer than any tokenizer needs for English, so that costs are estimated too high, not too low."""

SUFFIX = "\n\nAnswer with the program alone, on one line."
AGAIN = "These are no programs:\n{errors}\nWrite each again, correctly, one a line, nothing else."


class ApiProposer:
    """A model of a server at `base_url`, as https://api.example.com/v1."""

    def __init__(self, model: str, base_url: str, prices: Prices, timeout: float = TIMEOUT) -> None:
        self._model = model
        self._prices = prices
        self._api = ChatApi(base_url, timeout)

    @property
    def name(self) -> str:
        """api:MODEL."""
        return f"api:{self._model}"

    def most_dollars(self, prompt: Prompt, count: int) -> float:
        """The cost of the request and of a second one about its errors, estimated too high."""
        read = _most_tokens(prompt.messages)
        written = count * MAX_ANSWER_TOKENS
        # Its answers are read again, each with its error.
        return self._prices.dollars(2 * read + 3 * written, written + MAX_ANSWER_TOKENS)

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        """At most `count` answers, and at most one more for each that was no program."""
        messages = asked(prompt)
        started = time.monotonic()
        answers = self._asked(messages, count, seed)
        texts = [program_in(text) for text in answers.texts]
        drafts = self._drafts(texts, answers.finished, answers, started)
        wrong = {draft.text: canonical_text(draft.text) for draft in drafts if draft.finished}
        errors = {text: e for text, e in wrong.items() if isinstance(e, Rejection)}
        return [*drafts, *(self._corrected(messages, errors, seed) if errors else ())]

    def _asked(self, messages: list[tuple[str, str]], count: int, seed: int) -> Answers:
        return self._api.complete(
            self._model,
            messages,
            n=count,
            seed=seed % 2**31,
            max_tokens=MAX_ANSWER_TOKENS,
            temperature=TEMPERATURE,
            top_p=TOP_P,
        )

    def _corrected(
        self, messages: list[tuple[str, str]], errors: dict[str, Rejection], seed: int
    ) -> list[Draft]:
        """What it writes when it has been told of its errors."""
        listed = "\n".join(error.render(text) for text, error in errors.items())
        asked = [("assistant", "\n".join(errors)), ("user", AGAIN.format(errors=listed))]
        started = time.monotonic()
        try:
            answers = self._asked([*messages, *asked], 1, seed)
        except Exception as error:  # the first answers, which are paid, stay whatever this dies of
            took = time.monotonic() - started
            read = _most_tokens([*messages, *asked])
            dollars = self._prices.dollars(read, MAX_ANSWER_TOKENS)
            lost = f"no correction: {failure(error)}"
            return [Draft("", False, 0, took, dollars, failure=lost)]
        text, finished = answers.texts[0], answers.finished[0]
        lines = [program_in(line) for line in text.splitlines() if line.strip("` \t")]
        lines = lines[: len(errors)] or [""]
        return self._drafts(lines, (True,) * (len(lines) - 1) + (finished,), answers, started)

    def _drafts(
        self, texts: list[str], finished: tuple[bool, ...], answers: Answers, started: float
    ) -> list[Draft]:
        """The drafts of one request, each with its share of what that took."""
        share = 1 / len(texts)
        seconds = (time.monotonic() - started) * share
        dollars = self._prices.dollars(answers.read, answers.written) * share
        tokens = answers.written // len(texts)
        return [
            Draft(text, ended, tokens, seconds, dollars)
            for text, ended in zip(texts, finished, strict=True)
        ]


def asked(prompt: Prompt) -> list[tuple[str, str]]:
    """The messages of a prompt to a model that is not held to the grammar."""
    return [*prompt.messages[:-1], ("user", prompt.messages[-1][1] + SUFFIX)]


def _most_tokens(messages: Iterable[tuple[str, str]]) -> int:
    return sum(len(content) for _, content in messages) // CHARACTERS_PER_TOKEN


def program_in(answer: str) -> str:
    """The program in an answer: its first line, without the marks that chat models put around."""
    lines = (line.strip().strip("`").strip() for line in answer.splitlines())
    found = (line for line in lines if line and line not in ("text", "plaintext"))
    return next(found, "").removeprefix("Program:").strip()
