"""The way of a round to its town: a Unix socket of its own, on which only what `rules` approves reaches the server.

To the round it is a Redis server with one user, whose password is the round's token. Each connection has one of the
kernel's to the real server behind it, whose replies it hands on byte for byte, so that no reply has to be understood.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import socket
import tempfile
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from math import inf
from pathlib import Path
from typing import Any
from urllib.parse import quote

import hiredis
import trio
from tinytown.concurrency import open_background
from tinytown.config import Permissions
from tinytown.contracts import RoundAccess
from tinytown.errors import TinytownError
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown.redis import Connection, address_of, open_connection
from tinytown.state import state_directory
from tinytown.town import Town
from tinytown_adapters import known_secrets

from tinytown_authority.rights import Caller, Words
from tinytown_authority.rules import Rules, libraries
from tinytown_authority.settings import Settings

_CHUNK_BYTES = 64 * 1024
#: A request is at most a message and its frame.
_FRAME_BYTES = 256 * 1024
_CONNECTIONS = 64
#: Commands on their way to the server at once: it keeps all their replies in memory until the round has read them.
_IN_FLIGHT = 16
#: How long what a round has sent may take once the round has ended.
_FINISH_S = 5.0
_MORE = object()
_DIRECTORY = "rounds"
#: A socket's path has at most some hundred bytes.
_DIRECTORY_BYTES = 90


class Gateway(RoundAccess):
    """Opens a socket for each round."""

    name = "gateway"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._libraries = libraries()
        self._swept: set[Path] = set()

    @asynccontextmanager
    async def open(
        self, town: Town, agent: Agent, tasks: Sequence[Task], permissions_of: Callable[[Agent], Permissions]
    ) -> AsyncGenerator[str]:
        """The URL of a socket that speaks for this round until the block is left."""
        token = secrets.token_urlsafe(24)
        mask = known_secrets(os.environ, town.config.plugins).masked_bytes
        rules = Rules(Caller(town, self._settings, agent, tasks, permissions_of), self._libraries, mask)
        path = self._socket_path(town.root)
        try:
            listener = _listen(path)
            limit = trio.CapacityLimiter(_CONNECTIONS)
            async with open_background() as nursery:
                serve = partial(_serve, town=town, rules=rules, token=token, limit=limit)
                nursery.start_soon(trio.serve_listeners, serve, [listener])
                yield f"unix://{quote(agent.name, safe='')}:{token}@{quote(str(path))}"
        finally:
            path.unlink(missing_ok=True)
            if path.parent.name != _DIRECTORY:
                path.parent.rmdir()

    def _socket_path(self, root: Path) -> Path:
        """A new path for a socket, in a directory of this user alone: in the town's state, or, if that is too long, in /tmp."""
        directory = state_directory(root) / _DIRECTORY
        if len(os.fsencode(directory)) > _DIRECTORY_BYTES:
            return Path(tempfile.mkdtemp(prefix="tt-round-", dir="/tmp" if os.access("/tmp", os.W_OK) else None), "s")
        directory.mkdir(mode=0o700, exist_ok=True)
        if root not in self._swept:  # a state has one kernel at a time: what is there was left by one that was killed
            self._swept.add(root)
            for left in directory.iterdir():
                left.unlink(missing_ok=True)
        return directory / secrets.token_hex(4)


def _listen(path: Path) -> trio.SocketListener:
    raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        raw.bind(os.fspath(path))
        path.chmod(0o600)
        raw.listen(_CONNECTIONS)
        return trio.SocketListener(trio.socket.from_stdlib_socket(raw))
    except BaseException:
        raw.close()
        raise


def _pack(words: Words) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


async def _serve(
    stream: trio.SocketStream, *, town: Town, rules: Rules, token: str, limit: trio.CapacityLimiter
) -> None:
    """One connection of a round, until either side hangs up."""
    async with stream, limit:
        with suppress(
            trio.BrokenResourceError,
            trio.ClosedResourceError,
            TinytownError,
            hiredis.ProtocolError,
            OSError,
            MemoryError,
        ):
            await _Session(stream, town, rules, token).run()


class _Session:
    def __init__(self, stream: trio.SocketStream, town: Town, rules: Rules, token: str) -> None:
        self._stream = stream
        self._town = town
        self._rules = rules
        self._token = token.encode()
        self._upstream: Connection | None = None
        self._is_known = False

    async def run(self) -> None:
        """Answer requests in their order. Those that arrive together reach the server together, or not at all."""
        reader = hiredis.Reader(notEnoughData=_MORE)
        limit_bytes, pending_bytes = 2 * self._town.config.limits.message_bytes + _FRAME_BYTES, 0
        try:
            async for data in self._stream:
                reader.feed(bytes(data))
                pending_bytes += len(data)
                requests: list[object] = []
                while (request := reader.gets()) is not _MORE:
                    requests.append(request)
                    pending_bytes = 0
                # The first of several may end the round, which ends whoever sent them, and this.
                several = len(requests) > 1
                with trio.CancelScope(shield=several, relative_deadline=_FINISH_S if several else inf):
                    await self._answer_all(requests)
                if pending_bytes > limit_bytes:
                    await self._refuse("ERR", "the request is too large")
                    return
        finally:
            if self._upstream is not None:
                await trio.aclose_forcefully(self._upstream.stream)

    async def _answer_all(self, requests: list[object]) -> None:
        approved: list[Words] = []
        for request in requests:
            words: list[Any] = [*request] if isinstance(request, list) else []  # pyright: ignore[reportUnknownVariableType]
            error: tuple[str, str] | None = None
            if not words or not all(isinstance(word, bytes) for word in words):
                error = "ERR", "expected a command"
            elif self._is_known and words[0].upper() not in (b"HELLO", b"CLIENT", b"SELECT"):
                try:
                    if approved and self._rules.looks_first(words):
                        # What a rule looks at may depend on what was sent before.
                        await self._forward(approved)
                        approved = []
                    approved.append(await self._rules.approve(words))
                    continue
                except TinytownError as refused:
                    error = "TT", f"{refused.code} {json.dumps({'message': refused.message, 'hint': refused.hint})}"
            await self._forward(approved)
            approved = []
            if error is not None:
                await self._refuse(*error)
            elif words[0].upper() == b"HELLO":
                await self._greet(words)
            elif self._is_known:  # a courtesy of clients, of no meaning here
                await self._stream.send_all(b"+OK\r\n")
            else:
                await self._refuse("NOAUTH", "a round shows its token first")
        await self._forward(approved)

    async def _greet(self, words: Words) -> None:
        given = words[4] if len(words) > 4 and words[2].upper() == b"AUTH" else b""
        if not hmac.compare_digest(given, self._token):
            await self._refuse("WRONGPASS", "this is not the token of the round")
            return
        self._is_known = True
        version = (await self._server()).version.encode()
        await self._stream.send_all(b"%%1\r\n$7\r\nversion\r\n$%d\r\n%b\r\n" % (len(version), version))

    async def _forward(self, commands: list[Words]) -> None:
        """Send the commands, some at once, and hand on as many replies."""
        for first in range(0, len(commands), _IN_FLIGHT):
            await self._forward_some(commands[first : first + _IN_FLIGHT])

    async def _forward_some(self, commands: list[Words]) -> None:
        upstream = await self._server()
        await upstream.stream.send_all(b"".join(map(_pack, commands)))
        reader, missing = hiredis.Reader(notEnoughData=_MORE), len(commands)
        while missing:
            data = await upstream.stream.receive_some(_CHUNK_BYTES)
            if not data:
                raise trio.BrokenResourceError
            reader.feed(bytes(data))
            while missing and reader.gets() is not _MORE:
                missing -= 1
            with suppress(trio.BrokenResourceError):  # who has gone still gets done what it asked for
                await self._stream.send_all(data)

    async def _server(self) -> Connection:
        if self._upstream is None:
            address = address_of(self._town.root, self._town.config)
            tls = address.ssl_context() if address.scheme == "rediss" else None
            self._upstream = await open_connection(address, tls)
        return self._upstream

    async def _refuse(self, kind: str, text: str) -> None:
        await self._stream.send_all(f"-{kind} {text}\r\n".encode())
