"""One connection to a server under trio, shared by all tasks of the process, that reconnects by itself.

All callers that run in one scheduler tick share one write. The link reconnects with growing delays when the connection
breaks, notices a server that has gone silent, and listens again to the same channels. Which reply belongs to whom is
decided in `pipeline`; how a connection is made, in `connect`; what a reply means, by the operation.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import trio

from tinytown.errors import ProtocolViolation, ServerUnreachable, TinytownError
from tinytown.protocol.function_library import MAX_LIBRARY_LOADS
from tinytown.protocol.operation import Argument, ErrorReply, Operation, Reply, load_library, raise_for
from tinytown.redis.connect import RECEIVE_SIZE_BYTES, Connection, open_connection
from tinytown.redis.pipeline import Caller, Pipeline, Request
from tinytown.redis.resp import PASSING, connect_error, pack
from tinytown.redis.url import Address

S = TypeVar("S")
T = TypeVar("T")

_log = logging.getLogger(__name__)

#: How many requests may wait or be outstanding on one link.
BACKLOG_LIMIT = 100_000
#: How long the very first connection is tried before `open_link` fails.
FIRST_CONNECT_S = 1.0

_FIRST_DELAY_S = 0.02
_LONGEST_DELAY_S = 2.0
# A connection that held this long starts the next outage with short delays again.
_STEADY_S = 2.0


class Link:
    """A shared connection; made by `open_link`, valid inside its block. All its async methods are checkpoints.

    A caller that is cancelled while its request is out does not undo it: the request may or may not be carried out, and
    its reply is swallowed in its turn. Errors of the server in reply to a request are raised as `protocol.operation` does;
    beside them every method raises ServerUnreachable when there was no connection for `offline_wait_s` or the link is
    closed, Unconfirmed when the connection broke after the request was handed over and it is not repeatable, and
    LimitReached when too many requests wait.
    """

    def __init__(
        self,
        address: Address,
        *,
        on_push: Callable[[bytes, bytes], None] | None,
        on_connected: Callable[[], None] | None,
        offline_wait_s: float,
        stall_s: float | None,
        prepare: Callable[[], Awaitable[Address]] | None,
    ) -> None:
        self.address = address
        self.generation = 0
        self.server_version = ""
        self.connected = False
        self._tls = address.ssl_context() if address.scheme == "rediss" else None
        self._on_connected = on_connected
        self._offline_wait_s = offline_wait_s
        self._stall_s = stall_s
        self._prepare = prepare
        self._pipeline = Pipeline(limit=BACKLOG_LIMIT, on_message=on_push)
        self._has_requests = trio.lowlevel.ParkingLot()  # where the writer waits for requests
        self._last_byte_at = 0.0
        self._lost_at = 0.0
        self._failures = 0
        self._failure: TinytownError = ServerUnreachable("the client is closed")
        self._session: trio.CancelScope | None = None
        self._lifetime = trio.CancelScope(shield=True)

    # -- for callers -------------------------------------------------------------------------------------

    async def run(self, operation: Operation[T]) -> T:
        """The result of `operation`, whose function library is loaded first if the server lacks it."""
        for _ in range(MAX_LIBRARY_LOADS):
            try:
                return await self._run(operation)
            except ProtocolViolation as error:
                library = operation.missing_library(error)
                if library is None:
                    raise
            await self._run(load_library(library))
        return await self._run(operation)

    async def _run(self, operation: Operation[T]) -> T:
        request = Request(pack(operation.command), operation.repeatable)
        await self._exchange([request])
        return operation.read(request.outcome())

    async def command(self, *words: Argument) -> Reply:
        """The server's reply to any command that does not concern the connection itself; never sent twice."""
        (reply,) = await self.replies([words])
        if isinstance(reply, ErrorReply):
            raise_for(reply)
        return reply

    async def replies(self, commands: Sequence[tuple[Argument, ...]]) -> list[Reply]:
        """The raw replies to `commands`, `ErrorReply` values included; sent in one write, never sent twice."""
        requests = [Request(pack(command)) for command in commands]
        await self._exchange(requests)
        return [request.outcome() for request in requests]

    async def subscribe(self, *channels: str | bytes) -> None:
        """Have the messages of `channels` given to `on_push`, from now on, across reconnects.

        A channel counts as listened to once the server has granted it, even if the caller was cancelled meanwhile.
        Raises: ServerUnreachable with code ``server_refused`` for a channel this user may not listen to.
        """
        names = [channel.encode() if isinstance(channel, str) else channel for channel in channels]
        # One command for each: then each has exactly one answer, a push or an error.
        requests = [Request(pack(("SUBSCRIBE", name)), repeatable=True, channel=name) for name in names]
        await self._exchange(requests)
        for request in requests:
            if isinstance(reply := request.outcome(), ErrorReply):
                raise_for(reply)

    async def _exchange(self, requests: list[Request]) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._lifetime.cancel_called:
            raise ServerUnreachable("the client is closed")
        if not requests:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        caller = Caller(len(requests))
        self._pipeline.enqueue(requests, caller)
        self._has_requests.unpark()
        try:
            await caller.answered.wait()
        finally:
            if not caller.answered.is_set():
                caller.cancelled = True

    # -- the connection ----------------------------------------------------------------------------------

    async def first_connection(self) -> Connection:
        """The first connection, tried a few times. Raises: ServerUnreachable if none succeeds."""
        started = trio.current_time()
        while True:
            try:
                return await self._connect()
            except TinytownError as error:
                # A server that is loading exists; one that does not answer most likely does not.
                patience_s = FIRST_CONNECT_S if error.code == "server_unreachable" else self._offline_wait_s
                if error.code not in PASSING or trio.current_time() - started > patience_s:
                    raise
            await trio.sleep(self._next_delay_s())

    def use(self, connection: Connection) -> None:
        """Make `connection` the present one and call `on_connected`; `serve` then uses it."""
        self._last_byte_at = trio.current_time()
        self.generation += 1
        self.server_version = connection.version
        self.connected = True
        self._pipeline.reconnected()
        if self._on_connected is not None:
            try:
                self._on_connected()
            except Exception:  # it is not the connection's fault
                _log.exception("the handler of a new connection failed")

    async def serve(self, connection: Connection) -> None:
        """Serve `connection`, then the next one, until `close`."""
        self._failures = 0
        # Shielded, because the block may have things to finish over the link while it is being cancelled (a kernel gives
        # its leases back); `close` is what ends it, as soon as the block does.
        with self._lifetime:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._expire_waiting)
                while True:
                    started = trio.current_time()
                    await self._serve(connection)
                    if trio.current_time() - started >= _STEADY_S:
                        self._failures = 0
                    connection = await self._reconnect()
                    self.use(connection)
                    _log.info("connected to %s again", self.address.redacted)

    def close(self) -> None:
        """End `serve`, and fail the requests that wait or come later."""
        self._lifetime.cancel()
        closed = ServerUnreachable("the client is closed")
        self._pipeline.connection_lost(closed)
        self._pipeline.fail_waiting(closed)

    async def _connect(self) -> Connection:
        if self._prepare is not None:
            self.address = await self._prepare()
        return await open_connection(self.address, self._tls)

    async def _reconnect(self) -> Connection:
        while True:
            await trio.sleep(self._next_delay_s())
            try:
                return await self._connect()
            except TinytownError as error:
                self._failure = error
                if error.code not in PASSING:
                    self._pipeline.fail_waiting(error)

    async def _expire_waiting(self) -> None:
        """During an outage, end what has waited `offline_wait_s` of it."""
        while True:
            now = trio.current_time()
            since = now
            if not self.connected:
                if now >= self._lost_at + self._offline_wait_s:
                    self._pipeline.fail_waiting(self._failure, queued_before=now - self._offline_wait_s)
                oldest_at = self._pipeline.oldest_queued_at()
                since = now if oldest_at is None else max(oldest_at, self._lost_at)
            await trio.sleep_until(since + self._offline_wait_s)

    async def _serve(self, connection: Connection) -> None:
        """Carry requests and replies over `connection` until it breaks, and close it."""
        try:
            async with trio.open_nursery() as nursery:
                self._session = nursery.cancel_scope
                nursery.start_soon(self._until_broken, self._write, connection)
                nursery.start_soon(self._until_broken, self._read, connection)
                if self._stall_s is not None:
                    nursery.start_soon(self._until_broken, self._watch, self._stall_s)
        finally:
            self._session = None
            self.connected = False
            self._lost_at = trio.current_time()
            await trio.aclose_forcefully(connection.stream)
        self._pipeline.connection_lost(self._failure)

    async def _until_broken(self, work: Callable[[S], Awaitable[None]], subject: S) -> None:
        try:
            await work(subject)
        except TinytownError as error:
            self._break(error)
        except (OSError, trio.BrokenResourceError) as error:
            self._break(connect_error(error, self.address))

    async def _write(self, connection: Connection) -> None:
        pipeline = self._pipeline
        while True:
            while not pipeline.waiting:
                await self._has_requests.park()
            if not pipeline.outstanding:
                self._last_byte_at = trio.current_time()
            if data := pipeline.flush():
                await connection.stream.send_all(data)

    async def _read(self, connection: Connection) -> None:
        feed = self._pipeline.feed
        while data := await connection.stream.receive_some(RECEIVE_SIZE_BYTES):
            self._last_byte_at = trio.current_time()
            for reply in connection.parser.replies(data):
                feed(reply)
        raise ServerUnreachable(f"{self.address.redacted} closed the connection")

    async def _watch(self, stall_s: float) -> None:
        """Raise when replies are due and not one byte has come for `stall_s`."""
        while True:
            now = trio.current_time()
            due_at = (self._last_byte_at if self._pipeline.outstanding else now) + stall_s
            if now >= due_at:
                raise ServerUnreachable(f"{self.address.redacted} has been silent for {stall_s:g} s with answers due")
            await trio.sleep_until(due_at)

    def _break(self, why: TinytownError) -> None:
        """End the present connection; the first reason counts."""
        if self._session is not None and not self._session.cancel_called:
            _log.warning("lost the connection: %s", why.message)
            self._failure = why
            self._session.cancel()

    def _next_delay_s(self) -> float:
        """How long to wait before connecting; grows, with jitter so that clients do not reconnect all at once."""
        delay_s = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return delay_s * random.uniform(0.5, 1.0)


@asynccontextmanager
async def open_link(
    address: Address,
    *,
    on_push: Callable[[bytes, bytes], None] | None = None,
    on_connected: Callable[[], None] | None = None,
    offline_wait_s: float = 10.0,
    stall_s: float | None = 15.0,
    prepare: Callable[[], Awaitable[Address]] | None = None,
) -> AsyncGenerator[Link]:
    """A connected link that reconnects by itself until the block ends; usable to its end, also while it is being cancelled.

    `on_push` gets (channel, payload) of each message; `on_connected` is called after every connect, before anything
    that waited goes out: this is when to check for missed pushes. Both must be quick; what they raise is logged.
    `prepare` gives the address before every attempt to connect, and its TinytownErrors count as failures to connect.
    `stall_s`: with replies due and not a byte for that long the connection counts as broken. For commands that block, open
    a second link without it: whatever comes later waits behind them.

    Raises: ServerUnreachable, ProtocolViolation or ConfigError as themselves (never in a group) when there is no first
    connection. At the end of the block, requests that wait get ServerUnreachable.
    """
    link = Link(
        address,
        on_push=on_push,
        on_connected=on_connected,
        offline_wait_s=offline_wait_s,
        stall_s=stall_s,
        prepare=prepare,
    )
    connection = await link.first_connection()
    try:
        async with trio.open_nursery() as nursery:
            # Not `nursery.start`: being cancelled there would leave a shielded task that cannot be ended.
            link.use(connection)
            nursery.start_soon(link.serve, connection)
            try:
                yield link
            finally:
                link.close()
    except BaseExceptionGroup as group:
        # `serve` raises nothing, so this is the block's own exception, which its writer expects as it was.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from group.exceptions[0].__cause__
        raise
