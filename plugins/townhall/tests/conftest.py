"""A townhall on a real town, over real sockets: in the process of the test, or as a person starts it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import pytest
import trio
from tinytown.concurrency import open_background
from tinytown.town import Town
from tinytown_testing.towns import TownDirectory
from tinytown_townhall.hall import Hall
from tinytown_townhall.service import open_townhall
from tinytown_townhall.serving import HttpServer
from tinytown_townhall.settings import Settings

DEADLINE_S = 60


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a problem."""
        assert self.headers["content-type"] == "application/problem+json", self
        return str(self.json["code"])


class Client:
    """Speaks HTTP/1.1 to a townhall, a connection for each request."""

    def __init__(self, hall: Hall, server: HttpServer) -> None:
        self.hall = hall
        self.server = server
        self.town: Town = hall.town
        self.address: Any = server.address
        self.headers: dict[str, str] = {}

    async def connect(self) -> trio.SocketStream:
        if isinstance(self.address, str):
            return await trio.open_unix_socket(self.address)
        return await trio.open_tcp_stream(*self.address[:2])

    async def send(self, raw: bytes) -> Answer:
        """The answer to these bytes, whatever they are; status 0 if the connection ends without one."""
        with trio.fail_after(DEADLINE_S):
            async with await self.connect() as stream:
                with suppress(trio.BrokenResourceError):  # it may answer before all of it has arrived
                    await stream.send_all(raw)
                received = b""
                while b"\r\n\r\n" not in received:
                    if not (chunk := await stream.receive_some()):
                        return Answer(0, {}, received)
                    received += chunk
                head, _, body = received.partition(b"\r\n\r\n")
                status, *lines = head.decode("latin-1").split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                if "content-length" in headers:
                    while len(body) < int(headers["content-length"]):
                        body += await stream.receive_some()
                return Answer(int(status.split()[1]), headers, body)

    async def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, *, raw: bytes = b""
    ) -> Answer:
        """The answer to a request with a JSON body, or the `raw` one."""
        content = json.dumps(body).encode() if body is not None else raw
        given = {
            "Host": "localhost",
            "Connection": "close",
            **self.headers,
            **({"Content-Type": "application/json"} if body is not None else {}),
            **({"Content-Length": str(len(content))} if content or method != "GET" else {}),
            **(headers or {}),
        }
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
        return await self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + content)

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Any:
        """The JSON at a path."""
        answer = await self.ask("GET", path, headers=headers)
        assert answer.status == 200, answer
        return answer.json

    async def post(self, path: str, body: Any = None, *, status: int = 200) -> Any:
        answer = await self.ask("POST", path, {} if body is None else body)
        assert answer.status == status, answer
        return answer.json if answer.body else None

    @asynccontextmanager
    async def stream(self, path: str, headers: Mapping[str, str] | None = None) -> AsyncGenerator[Events]:
        """Server-sent events of a path."""
        given = {"Host": "localhost", **self.headers, **(headers or {})}
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
        async with await self.connect() as stream:
            await stream.send_all("\r\n".join(lines).encode() + b"\r\n\r\n")
            events = Events(stream)
            await events.begin()
            yield events


class Event(NamedTuple):
    type: str
    id: str
    data: Any


class Events:
    """Reads server-sent events from a connection with chunks."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._raw = b""
        self._text = b""
        self._in_body = False

    async def __anext__(self) -> Event:
        with trio.fail_after(DEADLINE_S):
            while b"\n\n" not in self._text:
                self._take()
                if b"\n\n" in self._text:
                    break
                chunk = await self._stream.receive_some()
                if not chunk:
                    raise StopAsyncIteration
                self._raw += chunk
            block, _, self._text = self._text.partition(b"\n\n")
        fields = dict(line.split(": ", 1) for line in block.decode().split("\n") if ": " in line and line[0] != ":")
        if "data" not in fields:
            return await self.__anext__()
        return Event(fields.get("event", ""), fields.get("id", ""), json.loads(fields["data"]))

    async def begin(self) -> None:
        """Wait for the head: what happens from then on is among the events."""
        with trio.fail_after(DEADLINE_S):
            while b"retry:" not in self._text:
                self._raw += await self._stream.receive_some()
                self._take()

    def __aiter__(self) -> Events:
        return self

    def _take(self) -> None:
        if not self._in_body:
            head, found, rest = self._raw.partition(b"\r\n\r\n")
            if not found:
                return
            assert head.split()[1] == b"200", head
            self._in_body, self._raw = True, rest
        while b"\r\n" in self._raw:
            size, _, rest = self._raw.partition(b"\r\n")
            length = int(size, 16)
            if len(rest) < length + 2:
                return
            self._text += rest[:length]
            self._raw = rest[length + 2 :]


async def eventually(condition: Callable[[], Any]) -> None:
    """Wait until the condition, or what it returns when awaited, is true."""
    with trio.fail_after(DEADLINE_S):
        while True:
            found = condition()
            if await found if isinstance(found, Awaitable) else found:
                return
            await trio.sleep(0.01)


@asynccontextmanager
async def open_client(town: Town, **settings: Any) -> AsyncGenerator[Client]:
    """A client of a townhall of `town` that serves on any free port, by default to everybody."""
    given = Settings(**{"port": 0, "auth": "none", "reads_per_minute": 0, "writes_per_minute": 0, **settings})
    async with open_townhall(town, given) as townhall, open_background() as nursery:
        nursery.start_soon(townhall.serve)
        yield Client(*townhall)


@pytest.fixture
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing starts a kernel in the background."""
    monkeypatch.setenv("TINYTOWN_NO_KERNEL", "1")


@pytest.fixture
async def client(town_dir: TownDirectory, no_kernel: None) -> AsyncGenerator[Client]:
    """A townhall of a town without a kernel, that asks nobody who they are."""
    with trio.fail_after(DEADLINE_S):
        async with town_dir.connect() as town, open_client(town) as client:
            yield client
