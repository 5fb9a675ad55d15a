"""One request to an OpenAI-compatible server, whatever that does: answers, or one clear error."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import httpx
from anyio import current_time, fail_after, sleep
from anyio.from_thread import BlockingPortal, start_blocking_portal

from grammar.errors import InputError
from grammar.rejection import printable
from synth.proposers import ProposerFailedError, failure

KEY = "HEADSCRIPT_API_KEY"
"""The environment variable that holds the key; it is sent to the server and shown nowhere."""

TIMEOUT = 120.0
"""Seconds that one request may take, waiting to be let in included."""

MAX_RESPONSE_BYTES = 4_000_000
MAX_TOKENS = 2**31
"""More than any request takes."""

SHOWN = 300
"""Characters of a message about a request."""

BUSY = (429, 503)
"""Statuses that mean: ask again later."""

REFUSED = (401, 403, 404)
"""Statuses that mean: others fare no better.  400, 413 and 422 may be of one prompt, too long."""

OTHERWISE = {
    "max_tokens": "max_completion_tokens",
    "temperature": None,
    "top_p": None,
    "seed": None,
}
"""What newer models of OpenAI say they do not support, by what is sent in its place."""

MISSHAPEN = (KeyError, TypeError, ValueError, RecursionError)
"""What reading a body raises that is no JSON, or another one than was expected."""

FIRST_WAIT = 1.0
"""Seconds before the second try of a busy server, or what it says if longer; then twice as many."""


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

    def __init__(
        self, base_url: str, timeout: float = TIMEOUT, portal: BlockingPortal | None = None
    ) -> None:
        """Requests of all threads run in the loop of `portal`, and end with it."""
        if not base_url.startswith(("http://", "https://")):
            raise InputError(f"{base_url!r:.60} is not the URL of a server: http://HOST:PORT/v1")
        self._url = base_url.rstrip("/")
        self._timeout = timeout
        self._portal = portal
        self._key = _key()
        self._unsupported: set[str] = set()

    def models(self) -> list[str]:
        """The names of the server's models.  Raises InputError where it does not answer."""
        try:
            body = json.loads(self._checked("/models", *self._said("GET", "/models", None)))
            return [_text(model["id"]) for model in body["data"]]
        except (ProposerFailedError, *MISSHAPEN) as error:
            raise InputError(self._shown(f"no models at {self._url}: {failure(error)}")) from error

    def complete(self, model: str, messages: Sequence[tuple[str, str]], **options: Any) -> Answers:
        """The answers to some messages; `options` are further fields of the request.

        What the server does not support is sent as `OTHERWISE` has it, from then on.

        Raises ProposerFailedError where this request came to nothing, and InputError where
        others would fare no better: a key or a model that the server refuses.
        """
        turns = [{"role": role, "content": content} for role, content in messages]
        path, sent = "/chat/completions", {"model": model, "messages": turns}
        while True:
            fields = self._supported(options)
            status, said = self._said("POST", path, sent | fields)
            refused = _refused(said) if status == 400 else None
            if refused not in fields:
                break
            self._unsupported.add(refused)
        content = self._checked(path, status, said)
        try:
            body = json.loads(content)
            choices = body["choices"]
            texts = tuple(_text(choice["message"]["content"]) for choice in choices)
            finished = tuple(choice["finish_reason"] == "stop" for choice in choices)
            usage = body["usage"]
            read, written = _count(usage["prompt_tokens"]), _count(usage["completion_tokens"])
        except MISSHAPEN as error:
            raise self._failed(f"sent no chat completion: {failure(error)} in {content}") from error
        if not texts:
            raise self._failed("sent no answers")
        return Answers(texts, finished, read, written)

    def _supported(self, options: Mapping[str, Any]) -> dict[str, Any]:
        names = {k: OTHERWISE[k] if k in self._unsupported else k for k in options}
        return {name: options[k] for k, name in names.items() if name is not None}

    def _said(self, method: str, path: str, sent: Any) -> tuple[int, str]:
        """Status and body, as text."""
        try:
            # In a thread of its own, since a notebook's has a loop already.
            with nullcontext(self._portal) if self._portal else start_blocking_portal() as portal:
                status, content = portal.call(self._response, method, path, sent)
        except TimeoutError as error:
            raise self._failed(f"took over {self._timeout:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._failed(f"failed: {failure(error)}") from error
        return status, content.decode("utf-8", "replace")

    def _checked(self, path: str, status: int, said: str) -> str:
        """The body of a request that went through."""
        if status in REFUSED:
            refusal = f"{self._url}{path} refuses the request, status {status}: {said}"
            raise InputError(self._shown(refusal))
        if status != 200:
            raise self._failed(f"failed with status {status}: {said}")
        return said

    async def _response(self, method: str, path: str, sent: Any) -> tuple[int, bytes]:
        """Status and body; one deadline holds for all of it, however slowly what part arrives."""
        wait = FIRST_WAIT
        with fail_after(self._timeout) as scope:
            async with self._client() as client:
                while True:
                    async with client.stream(method, self._url + path, json=sent) as response:
                        content = b""
                        async for chunk in response.aiter_bytes():
                            content += chunk
                            if len(content) > MAX_RESPONSE_BYTES:
                                raise self._failed("sent too much")
                    if response.status_code not in BUSY:
                        return response.status_code, content
                    asked = response.headers.get("retry-after", "")
                    wait = max(wait, float(asked)) if asked.isdecimal() else wait
                    if current_time() + wait > scope.deadline:
                        said = content.decode("utf-8", "replace")
                        raise self._failed(f"is busy (status {response.status_code}): {said}")
                    await sleep(wait)
                    wait *= 2

    def _client(self) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        return httpx.AsyncClient(headers=headers, timeout=None)

    def _failed(self, how: str) -> ProposerFailedError:
        return ProposerFailedError(self._shown(f"{self._url} {how}"))

    def _shown(self, message: str) -> str:
        """The beginning of a message in one line, without the key, whoever sent that back."""
        return printable((message.replace(self._key, "***") if self._key else message)[:SHOWN])


def _key() -> str:
    key = os.environ.get(KEY, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"{KEY} is no key: set it to one line of ASCII characters")
    return key


def _refused(said: str) -> str | None:
    """The option that an error body names as one that the model does not take."""
    try:
        error = json.loads(said)["error"]
        known = str(error["code"]).startswith("unsupported") and error["param"] in OTHERWISE
    except MISSHAPEN:
        return None
    return str(error["param"]) if known else None


def _text(value: Any) -> str:
    """A text that can be stored: JSON also has halves of characters, and zeros."""
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value.encode("utf-8", "replace").decode().replace("\0", "?")


def _count(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < MAX_TOKENS:
        raise ValueError("not a number of tokens")
    return value
