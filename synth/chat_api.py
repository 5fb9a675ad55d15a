"""One request to an OpenAI-compatible server, whatever that does: answers, or one clear error."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from grammar.errors import InputError
from grammar.rejection import printable
from synth.proposers import ProposerFailedError

KEY = "HEADSCRIPT_API_KEY"
"""The environment variable that holds the key; it is sent to the server and shown nowhere."""

TIMEOUT = 120.0
"""Seconds that one request may take, waiting to be let in included."""

MAX_RESPONSE_BYTES = 4_000_000
BUSY = (429, 503)
"""Statuses that mean: ask again later."""

REFUSED = (401, 403, 404)
"""Statuses that mean: others fare no better.  400, 413 and 422 may be of one prompt, too long."""

FIRST_WAIT = 2.0
"""Seconds before the second try of a busy server that does not say when; then twice as many."""


@dataclass(frozen=True)
class Answers:
    """What one request brought."""

    texts: tuple[str, ...]
    finished: tuple[bool, ...]
    """Whether each ended by itself, and was not cut off."""
    read: int
    """Tokens of the prompt, as the server counts them."""
    written: int
    """Tokens of all answers together."""


class ChatApi:
    """A server at `base_url`, which ends before `/chat/completions`, as in http://host/v1."""

    def __init__(self, base_url: str, timeout: float = TIMEOUT) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise InputError(f"{base_url!r:.60} is not the URL of a server: http://HOST:PORT/v1")
        self._url = base_url.rstrip("/")
        self._timeout = timeout
        self._key = os.environ.get(KEY, "")

    def models(self) -> list[str]:
        """The names of the server's models.  Raises InputError where it does not answer."""
        try:
            body = self._body("GET", "/models", None)
            return [str(model["id"]) for model in body["data"]]
        except (ProposerFailedError, KeyError, TypeError) as error:
            raise InputError(f"no models at {self._url}: {_line(error)}") from error

    def complete(self, model: str, messages: Sequence[tuple[str, str]], **options: Any) -> Answers:
        """The answers to some messages; `options` are further fields of the request.

        Raises ProposerFailedError where this request came to nothing, and InputError where
        others would fare no better: a key or a model that the server refuses.
        """
        turns = [{"role": role, "content": content} for role, content in messages]
        body = self._body(
            "POST", "/chat/completions", {"model": model, "messages": turns, **options}
        )
        try:
            choices = body["choices"]
            texts = tuple(_text(choice["message"]["content"]) for choice in choices)
            finished = tuple(choice["finish_reason"] == "stop" for choice in choices)
            usage = body["usage"]
            read, written = _count(usage["prompt_tokens"]), _count(usage["completion_tokens"])
        except (KeyError, TypeError, ValueError) as error:
            raise ProposerFailedError(
                f"{self._url} sent no chat completion: {_line(error)} in {json.dumps(body):.80}"
            ) from error
        if not texts:
            raise ProposerFailedError(f"{self._url} sent no answers")
        return Answers(texts, finished, read, written)

    def _body(self, method: str, path: str, sent: Any) -> Any:
        deadline = time.monotonic() + self._timeout
        wait = FIRST_WAIT
        while True:
            status, headers, content = self._response(method, path, sent, deadline)
            if status not in BUSY:
                break
            asked = headers.get("retry-after", "")
            wait = float(asked) if asked.isdecimal() else wait
            if time.monotonic() + wait > deadline:
                raise ProposerFailedError(f"{self._url} is busy (status {status})")
            time.sleep(wait)
            wait *= 2
        said = self._shown(content)
        if status in REFUSED:
            raise InputError(f"{self._url}{path} refuses the request, status {status}: {said}")
        if status != 200:
            raise ProposerFailedError(f"{self._url} failed with status {status}: {said}")
        try:
            return json.loads(content)
        except ValueError as error:
            raise ProposerFailedError(f"{self._url} sent no JSON: {said}") from error

    def _response(
        self, method: str, path: str, sent: Any, deadline: float
    ) -> tuple[int, httpx.Headers, bytes]:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        content = b""
        try:
            left = max(0.1, deadline - time.monotonic())
            with httpx.stream(
                method, self._url + path, json=sent, headers=headers, timeout=left
            ) as response:
                for chunk in response.iter_bytes():
                    content += chunk
                    # A server that sends a little now and then never exceeds a read's timeout.
                    if time.monotonic() > deadline:
                        raise ProposerFailedError(f"{self._url} took over {self._timeout:g} s")
                    if len(content) > MAX_RESPONSE_BYTES:
                        raise ProposerFailedError(f"{self._url} sent too much")
                return response.status_code, response.headers, content
        except httpx.TimeoutException as error:
            raise ProposerFailedError(f"{self._url} took over {self._timeout:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ProposerFailedError(f"{self._url}: {_line(error)}") from error

    def _shown(self, content: bytes) -> str:
        text = content.decode("utf-8", "replace")
        if self._key:
            text = text.replace(self._key, "***")
        return printable(text[:200])


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("an answer that is no text")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError("a number of tokens that is none")
    return value


def _line(error: Exception) -> str:
    return printable(str(error).partition("\n")[0][:200]) or type(error).__name__
