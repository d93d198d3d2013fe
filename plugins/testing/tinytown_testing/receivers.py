"""A receiver of HTTP requests on the loopback that behaves as a test says: for what a plugin sends to a service.

Each connection is a thread of its own; a request that is left hanging ends with the receiver.
"""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, cast

import trio

_WAIT_S = 60.0
_POLL_S = 0.01


@dataclass(frozen=True)
class ReceivedRequest:
    """A request as it came; its headers by their names in lower case, its body without compression."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


#: A status, or one with headers; None never answers.
Behaviour = Callable[[ReceivedRequest], int | tuple[int, Mapping[str, str]] | None]


class Receiver(ThreadingHTTPServer):
    """Answers POST requests as long as its block lasts, at `url`.

    `behave` decides on each answer and may be replaced at any time; by default it is 204. Each takes `delay_s`. `seen` has all
    requests so far, `taken` those that were answered with 2xx. Raises: OSError if the port is taken.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.behave: Behaviour = lambda _: 204
        self.delay_s = 0.0
        self.seen: list[ReceivedRequest] = []
        self.taken: list[ReceivedRequest] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def json(self) -> list[Any]:
        """What has been taken as JSON, in order; of an array each element."""
        bodies = [request.json for request in self.taken]
        return [each for body in bodies for each in (body if isinstance(body, list) else [body])]  # pyright: ignore[reportUnknownVariableType] - any JSON

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for 60 s at most until `condition` holds, which requests bring about. Raises: trio.TooSlowError."""
        with trio.fail_after(_WAIT_S):
            while not condition():  # noqa: ASYNC110 - threads change it
                await trio.sleep(_POLL_S)

    async def wait_for(self, count: int) -> None:
        """Wait for 60 s at most until so many requests have been taken. Raises: trio.TooSlowError."""
        await self.wait_until(lambda: len(self.taken) >= count)

    def answer(self, handler: _Handler, request: ReceivedRequest) -> None:
        """Answer one request; called in the thread of its connection."""
        self.seen.append(request)
        time.sleep(self.delay_s)
        answer = self.behave(request)
        if answer is None:
            self._over.wait()
            handler.close_connection = True
            return
        status, headers = answer if isinstance(answer, tuple) else (answer, dict[str, str]())
        if 200 <= status < 300:
            self.taken.append(request)
        handler.reply(status, headers)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that goes while it is answered is no error."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self.shutdown()
        self.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        size_bytes = int(headers.get("content-length", 0))
        body = self.rfile.read(size_bytes)
        if len(body) < size_bytes:  # the client was killed
            self.close_connection = True
            return
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        cast("Receiver", self.server).answer(self, ReceivedRequest(self.path, headers, body))

    def reply(self, status: int, headers: Mapping[str, str]) -> None:
        """Answer with an empty body."""
        self.send_response(status)
        for name, value in {**headers, "content-length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass
