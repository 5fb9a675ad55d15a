"""An OpenAI-compatible server on the loopback that misbehaves as it is told to."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[["Handler", dict[str, Any]], None]


class Handler(BaseHTTPRequestHandler):
    """Records each request, and gives the next reply, the last one again and again."""

    server: "FakeApi"

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""

    def do_GET(self) -> None:
        send({"data": [{"id": "fake"}]})(self, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        self.server.keys.append(self.headers.get("Authorization", ""))
        number = min(len(self.server.requests), len(self.server.replies)) - 1
        self.server.replies[number](self, body)

    def begin(self, status: int, length: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(length))
        self.end_headers()


class FakeApi(ThreadingHTTPServer):
    """What it was asked, and what it is to reply."""

    daemon_threads = True

    def __init__(self, replies: tuple[Reply, ...]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies = replies
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.leaving = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


@contextmanager
def fake_api(*replies: Reply) -> Iterator[FakeApi]:
    """A running server, which ends with the block."""
    server = FakeApi(replies)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.leaving.set()
        server.shutdown()
        server.server_close()
        thread.join()


def completion(
    *answers: str, finish: str = "stop", read: int = 1000, written: int = 10
) -> dict[str, Any]:
    """The body of a chat completion."""
    choices = [
        {"message": {"role": "assistant", "content": answer}, "finish_reason": finish}
        for answer in answers
    ]
    return {
        "choices": choices,
        "usage": {"prompt_tokens": read, "completion_tokens": written * len(answers)},
    }


def send(body: Any, status: int = 200, **headers: str) -> Reply:
    """This body as JSON, or as it is where it is bytes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def reply(handler: Handler, _: dict[str, Any]) -> None:
        handler.begin(status, len(content), **headers)
        handler.wfile.write(content)

    return reply


def answer(*texts: str, **options: Any) -> Reply:
    """As many answers as are asked for, the texts by turns."""

    def reply(handler: Handler, body: dict[str, Any]) -> None:
        given = [texts[i % len(texts)] for i in range(body.get("n", 1))]
        send(completion(*given, **options))(handler, body)

    return reply


def hang(handler: Handler, _: dict[str, Any]) -> None:
    """Never answers."""
    handler.server.leaving.wait(30)


def drip(handler: Handler, _: dict[str, Any]) -> None:
    """Sends a byte now and then, for ever."""
    handler.begin(200, 1_000_000)
    while not handler.server.leaving.wait(0.05):
        handler.wfile.write(b" ")
        handler.wfile.flush()


def drip_headers(handler: Handler, _: dict[str, Any]) -> None:
    """Sends a header now and then, for ever."""
    handler.send_response(200)
    while not handler.server.leaving.wait(0.05):
        handler.send_header("X-Dripping", "on")
        handler.flush_headers()


def die(handler: Handler, _: dict[str, Any]) -> None:
    """Hangs up half-way."""
    handler.begin(200, 1_000)
    handler.wfile.write(b'{"choices": [{"mess')
    handler.wfile.flush()
    time.sleep(0.02)
    handler.connection.close()
