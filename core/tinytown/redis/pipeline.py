"""What was asked and what came back: which reply belongs to which request, also across lost connections. No IO.

Requests wait in order, go out in order, and replies are matched in order. The link feeds it replies and takes bytes
from it; everything that must never go wrong (a reply to the wrong caller, a silent repetition) is decided here. It
does not know sockets, time limits or why a connection was lost.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from tinytown.errors import LimitReached, ProtocolViolation, TinytownError
from tinytown.protocol.operation import ErrorReply, Reply, raise_for
from tinytown.redis.resp import is_push, pack, unconfirmed

_log = logging.getLogger(__name__)

#: A request that was handed over this often and never answered may be what breaks the connection.
MAX_SENDS = 5
_WRITE_SIZE_BYTES = 128 * 1024


class Caller:
    """A caller that waits for `missing` replies; `cancelled` if it no longer wants them."""

    __slots__ = ("answered", "cancelled", "missing")

    def __init__(self, missing: int) -> None:
        self.missing = missing
        self.answered = trio.Event()
        self.cancelled = False


@dataclass(slots=True, eq=False)
class Request:
    """The bytes of one command, and the reply to it.

    ``channel`` is set for SUBSCRIBE of that one channel, which is answered by a push when granted and by an ordinary
    error reply when not. ``caller`` is None for the link's own.
    """

    data: bytes
    repeatable: bool = False
    channel: bytes | None = None
    reply: Reply = None
    failure: TinytownError | None = None
    settled: bool = False
    sends: int = 0
    queued_at: float = 0.0
    caller: Caller | None = None

    @property
    def unwanted(self) -> bool:
        return self.caller is not None and self.caller.cancelled

    def settle(self) -> None:
        self.settled = True
        if self.caller is not None:
            self.caller.missing -= 1
            if not self.caller.missing:
                self.caller.answered.set()

    def fail(self, why: TinytownError) -> None:
        """End it because of `why`: as *unconfirmed* if it has been handed over, as what `why` is if surely not."""
        if self.sends:
            self.failure = unconfirmed(why)
        else:  # a copy: one exception raised in many tasks would collect all their tracebacks
            self.failure = type(why)(why.message, hint=why.hint, code=why.code, **why.fields)
            self.failure.__cause__ = why
        self.settle()

    def outcome(self) -> Reply:
        """Its reply. Raises: the failure it ended with."""
        if self.failure is not None:
            raise self.failure
        return self.reply


class Pipeline:
    """The requests of one link, and the channels it listens to.

    `limit` bounds the requests that wait or are outstanding. ``channels`` is what the server has granted, also if its
    caller was cancelled.
    """

    def __init__(self, *, limit: int, on_message: Callable[[bytes, bytes], None] | None) -> None:
        self.channels: set[bytes] = set()
        self._limit = limit
        self._on_message = on_message
        self._waiting: deque[Request] = deque()
        self._sent: deque[Request] = deque()

    @property
    def outstanding(self) -> bool:
        """Whether replies are due."""
        return bool(self._sent)

    @property
    def waiting(self) -> bool:
        """Whether requests wait to be flushed."""
        return bool(self._waiting)

    def enqueue(self, requests: Sequence[Request], caller: Caller) -> None:
        """Queue all of `requests`, or none. Raises: LimitReached."""
        if len(self._waiting) + len(self._sent) + len(requests) > self._limit:
            self._waiting = deque(request for request in self._waiting if not request.unwanted)
            if len(self._waiting) + len(self._sent) + len(requests) > self._limit:
                raise LimitReached(
                    f"more than {self._limit} requests wait for the server",
                    hint="it is slower than they come; let fewer run at once",
                )
        now = trio.current_time()
        for request in requests:
            request.caller, request.queued_at = caller, now
        self._waiting.extend(requests)

    def flush(self) -> bytes:
        """The next bytes to write, from now on outstanding; empty if all callers that waited were cancelled."""
        pieces: list[bytes] = []
        size_bytes = 0
        while self._waiting and size_bytes < _WRITE_SIZE_BYTES:
            request = self._waiting.popleft()
            if not request.unwanted:
                request.sends += 1
                self._sent.append(request)
                pieces.append(request.data)
                size_bytes += len(request.data)
        return b"".join(pieces)

    def feed(self, reply: Reply) -> None:
        """Give `reply` to its request, wanted or not, or a push to its handler. Raises: TinytownError to end the connection."""
        if is_push(reply):
            self._feed_push(reply)
            return
        request = self._sent[0] if self._sent else None
        if request is None or (request.channel is not None and not isinstance(reply, ErrorReply)):
            raise ProtocolViolation("the server sent a reply that answers no request")
        self._answer(request, reply)

    def reconnected(self) -> None:
        """Put the subscriptions in front of everything that waits."""
        for channel in self.channels:
            self._waiting.appendleft(Request(pack(("SUBSCRIBE", channel)), repeatable=True, channel=channel))

    def connection_lost(self, why: TinytownError) -> None:
        """The connection is gone: what was outstanding waits again if it may be repeated, and else is unconfirmed."""
        while self._waiting and self._waiting[0].caller is None:
            self._waiting.popleft()  # `reconnected` makes them anew
        again: list[Request] = []
        while self._sent:
            request = self._sent.popleft()
            if request.caller is None:
                continue
            if request.repeatable and request.sends < MAX_SENDS:
                again.append(request)
            else:
                request.fail(why)
        self._waiting.extendleft(reversed(again))

    def fail_waiting(self, why: TinytownError, *, queued_before: float | None = None) -> None:
        """End what waits because of `why`; with `queued_before` (trio time) only what has waited since then."""
        # Repeated requests were put in front, so the queue is sorted by time.
        while self._waiting and (queued_before is None or self._waiting[0].queued_at <= queued_before):
            self._waiting.popleft().fail(why)

    def oldest_queued_at(self) -> float | None:
        """When the head of the queue was asked, in trio time."""
        return self._waiting[0].queued_at if self._waiting else None

    def _answer(self, request: Request, reply: Reply) -> None:
        request.reply = reply
        self._sent.popleft()
        request.settle()
        if isinstance(reply, ErrorReply) and (reply.kind == "READONLY" or request.caller is None):
            if reply.kind != "NOPERM":  # a new connection may lead to the new primary, or to one that is not busy
                raise_for(reply)
            _log.warning("cannot listen to %r any more: %s", request.channel, reply.text)

    def _feed_push(self, push: Sequence[Reply]) -> None:
        match push:
            case [b"message", bytes(channel), bytes(payload)]:
                if self._on_message is not None:
                    try:
                        self._on_message(channel, payload)
                    except Exception:  # it is not the connection's fault
                        _log.exception("the handler of messages failed on one of channel %r", channel)
            case [b"subscribe", bytes(channel), int()]:
                if self._sent and self._sent[0].channel == channel:
                    self.channels.add(channel)
                    self._answer(self._sent[0], None)
            case _:
                pass  # of no concern here: invalidations and whatever later servers announce
