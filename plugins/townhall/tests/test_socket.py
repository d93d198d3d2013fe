"""Events over a WebSocket: as they happen, after a cut, to whom, and within which bounds."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
from tinytown_testing.towns import TownDirectory
from tinytown_townhall import event_socket
from tinytown_townhall.auth import check_scopes
from tinytown_townhall.keys import new_key, store_key
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Message,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

from plugins.townhall.tests.conftest import DEADLINE_S, Client, open_client


class Refused(Exception):
    """The handshake was answered with an error."""

    def __init__(self, status: int, problem: Any) -> None:
        super().__init__(f"{status} {problem}")
        self.status = status
        self.code = problem.get("code")


class Socket:
    """A client of a WebSocket."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._connection = WSConnection(ConnectionType.CLIENT)
        self._events: list[Any] = []

    async def open(self, path: str, headers: dict[str, str]) -> None:
        given = {"Host": "localhost", **headers}
        extra = [(name.encode(), value.encode()) for name, value in given.items() if name != "Host"]
        await self._stream.send_all(
            self._connection.send(Request(host=given["Host"], target=path, extra_headers=extra))
        )
        event, body = await self._next(), b""
        if isinstance(event, RejectConnection):
            while isinstance(data := await self._next(), RejectData):
                body += data.data
                if data.body_finished:
                    break
            raise Refused(event.status_code, json.loads(body or b"{}"))
        assert isinstance(event, AcceptConnection), event

    async def receive(self) -> Any:
        """The next message, decoded; or the code with which the other side closed."""
        text = ""
        while True:
            match await self._next():
                case TextMessage() as part:
                    text += part.data
                    if part.message_finished:
                        return json.loads(text)
                case CloseConnection() as close:
                    return close.code
                case Ping() as ping:
                    await self._stream.send_all(self._connection.send(ping.response()))
                case other:
                    raise AssertionError(other)

    async def send(self, event: Any) -> None:
        await self._stream.send_all(self._connection.send(event))

    async def _next(self) -> Any:
        with trio.fail_after(DEADLINE_S):
            while not self._events:
                self._connection.receive_data(await self._stream.receive_some() or None)
                self._events += self._connection.events()
        return self._events.pop(0)


@asynccontextmanager
async def open_socket(client: Client, path: str = "", headers: dict[str, str] | None = None) -> AsyncGenerator[Socket]:
    async with await client.connect() as stream:
        socket = Socket(stream)
        await socket.open(f"/v1/events/socket{path}", headers or {})
        yield socket


async def test_events_come_over_a_socket_and_go_on_after_a_cut(client: Client) -> None:
    async with open_socket(client) as socket:
        first = await client.town.add_task("one")
        seen = await socket.receive()
        assert (seen["type"], seen["task"], seen["text"]) == ("task_added", first.id, f"task {first.id[:8]} added: one")
    missed = [(await client.town.add_task(text)).id for text in ("two", "three")]
    async with open_socket(client, f"?type=task_added&after={seen['id']}") as socket:
        assert [(await socket.receive())["task"] for _ in missed] == missed
    async with open_socket(client, f"?task={first.id}&after=0") as socket:
        assert (await socket.receive())["task"] == first.id


async def test_who_is_not_known_or_comes_from_a_foreign_page_gets_no_socket(town_dir: TownDirectory) -> None:
    with trio.fail_after(DEADLINE_S):
        async with town_dir.connect() as town, open_client(town, auth="key") as client:
            record, key = new_key("reader", check_scopes(("town.read",)), None)
            await town.run(store_key(town.operations, record))
            known = {"Authorization": f"Bearer {key}"}
            for headers, status, code in (
                ({}, 401, "unauthorized"),
                ({"Authorization": "Bearer ttk_wrong"}, 401, "unauthorized"),
                ({**known, "Origin": "https://evil.example"}, 403, "origin_not_allowed"),
                ({**known, "Sec-Fetch-Site": "cross-site"}, 403, "origin_not_allowed"),
                ({**known, "Host": "evil.example"}, 421, "host_not_allowed"),
            ):
                with pytest.raises(Refused) as refused:
                    async with open_socket(client, headers=headers):
                        pass
                assert (refused.value.status, refused.value.code) == (status, code)
            async with open_socket(client, "?after=0", {**known, "Origin": "http://localhost"}) as socket:
                assert (await socket.receive())["id"]


@pytest.mark.parametrize("query", ["?after=x", "?odd=1", "?after=1&after=2"])
async def test_a_wrong_query_is_answered_as_a_problem(client: Client, query: str) -> None:
    with pytest.raises(Refused) as refused:
        async with open_socket(client, query):
            pass
    assert (refused.value.status, refused.value.code) == (400, "usage")


@pytest.mark.parametrize("event", [TextMessage(data="hello"), Message(data=b"hello")])
async def test_a_client_that_talks_is_let_go(client: Client, event: Any) -> None:
    async with open_socket(client) as socket:
        await socket.send(event)
        assert await socket.receive() == 1003


async def test_a_message_that_is_too_large_ends_the_socket(client: Client) -> None:
    async with open_socket(client) as socket:
        with suppress(trio.BrokenResourceError):
            await socket.send(TextMessage(data="x" * 100_000))
        assert await socket.receive() in (1003, 1009)


async def test_there_are_only_so_many_sockets(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_socket, "SOCKETS", 1)
    async with open_socket(client):
        with pytest.raises(Refused) as refused:
            async with open_socket(client):
                pass
        assert (refused.value.status, refused.value.code) == (503, "too_many")


async def test_the_townhall_says_that_it_ends(client: Client) -> None:
    async with open_socket(client) as socket:
        client.server.stop()
        assert await socket.receive() == 1001
