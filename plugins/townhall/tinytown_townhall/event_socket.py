"""Events over a WebSocket: what the server-sent ones are, for clients that would rather have a socket.

Each message is one event as JSON; a client that was cut off sends the id of its last one as ``after``. A client sends nothing.
"""

from __future__ import annotations

from contextlib import aclosing, suppress

import trio
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect
from tinytown.concurrency import open_background
from tinytown.errors import TinytownError

from tinytown_townhall.endpoints.events import StreamQuery, begin_of, matches
from tinytown_townhall.hall import Hall
from tinytown_townhall.problems import HttpError
from tinytown_townhall.routing import problem_response, read_query

#: How many sockets are open at once; each costs memory for what it has not taken yet.
SOCKETS = 1_000

_GOING_AWAY = 1001
_UNSUPPORTED = 1003
_TRY_LATER = 1013


class EventSocket:
    """The WebSocket of a townhall, an ASGI application."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket(scope, receive, send)
        try:
            await self._hall.admit(socket, "town.read", changes=False)
            query = read_query(StreamQuery, socket)
            after = begin_of(socket, query) or self._hall.town.position.value
            if self._open >= SOCKETS:
                raise HttpError(503, "too_many", f"{SOCKETS} sockets are open", hint="close some, or try again later")
        except TinytownError as error:
            await socket.send_denial_response(problem_response(error, socket.state.request_id))
            return
        self._open += 1
        try:
            await socket.accept()
            async with open_background() as nursery:
                nursery.start_soon(self._send, socket, query, after, nursery.cancel_scope)
                nursery.start_soon(self._end, socket, nursery.cancel_scope)
                with suppress(WebSocketDisconnect):
                    await socket.receive_bytes()
                    await socket.close(_UNSUPPORTED, "nothing is to be sent here")
        except (WebSocketDisconnect, KeyError):  # KeyError: it sent text, which is as wrong
            with suppress(RuntimeError):
                await socket.close(_UNSUPPORTED, "nothing is to be sent here")
        finally:
            self._open -= 1

    async def _send(self, socket: WebSocket, query: StreamQuery, after: str, scope: trio.CancelScope) -> None:
        try:
            async with aclosing(self._hall.feed.follow(after)) as batches:
                async for batch in batches:
                    for event in batch:
                        if matches(event, query):
                            await socket.send_text(event.encoded.decode())
        except TinytownError:  # the town's server is gone for now: the client comes back by itself
            await socket.close(_TRY_LATER, "the town's server does not answer")
        except (WebSocketDisconnect, RuntimeError):  # it has left
            pass
        scope.cancel()

    async def _end(self, socket: WebSocket, scope: trio.CancelScope) -> None:
        await self._hall.closing.wait()
        with suppress(WebSocketDisconnect, RuntimeError):
            await socket.close(_GOING_AWAY, "the townhall ends")
        scope.cancel()
