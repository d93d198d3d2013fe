"""Server-sent events as a response that ends when the client leaves or the server closes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import trio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from tinytown.concurrency import open_background
from tinytown.errors import TinytownError

#: A comment is sent when nothing was for so long, so that proxies keep the connection and a dead one is noticed.
HEARTBEAT_S = 20.0
_RETRY_MS = 1_000


def sse(data: bytes, *, event: str = "", id_: str = "") -> bytes:
    """One event of a stream; `data` is one line."""
    return b"".join(
        (
            f"id: {id_}\n".encode() if id_ else b"",
            f"event: {event}\n".encode() if event else b"",
            b"data: ",
            data,
            b"\n\n",
        )
    )


class EventStream(Response):
    """Sends what `source` yields, each chunk a whole number of events, and `beat` when nothing was sent for a while."""

    media_type = "text/event-stream"

    def __init__(
        self, source: Callable[[], AsyncGenerator[bytes]], closing: trio.Event, *, beat: bytes = b": \n\n"
    ) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._source = source
        self._closing = closing
        self._beat = beat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"retry: %d\n\n" % _RETRY_MS, "more_body": True})
        outgoing, chunks = trio.open_memory_channel[bytes](0)
        async with open_background() as nursery:
            ended = trio.Event()
            nursery.start_soon(self._read, outgoing, ended)
            nursery.start_soon(self._watch, receive, ended)
            while not ended.is_set():
                chunk = self._beat
                with trio.move_on_after(HEARTBEAT_S):
                    try:
                        chunk = await chunks.receive()
                    except trio.EndOfChannel:
                        break
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _read(self, outgoing: trio.MemorySendChannel[bytes], ended: trio.Event) -> None:
        async with outgoing:
            try:
                async with aclosing(self._source()) as source:
                    async for chunk in source:
                        await outgoing.send(chunk)
            except TinytownError:
                pass  # the server is gone for now: the client comes back by itself

    async def _watch(self, receive: Receive, ended: trio.Event) -> None:
        """End the stream when the client leaves or the server closes."""
        async with open_background() as nursery:
            nursery.start_soon(_await_closing, self._closing, nursery.cancel_scope)
            while (await receive())["type"] != "http.disconnect":
                pass
        ended.set()


async def _await_closing(closing: trio.Event, scope: trio.CancelScope) -> None:
    await closing.wait()
    scope.cancel()
