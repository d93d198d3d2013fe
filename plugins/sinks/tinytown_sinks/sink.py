"""A service that takes the town's events at its own pace, never blocking an agent.

The stream on the server is the buffer: a sink's position is kept there, so a slow sink lags, and a restart resumes where
the last one stopped. The kernel runs it as any service of the town: under a lease, and again after it has failed.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Literal

import trio
from tinytown.contracts import Service
from tinytown.errors import ServerUnreachable
from tinytown.model.events import Event
from tinytown.town import Town

from tinytown_sinks.cursor import EventCursor

_LARGEST_BATCH = 500
_CURSOR_BOUND_S = 1.0
_LAST_S = 1.0
_FIRST_RETRY_S = 0.5
_LONGEST_RETRY_S = 60.0


class StatusSink(Service):
    """Somewhere events go. Each event reaches it at least once and in order, also after a restart.

    It is given up to `batch` events at once (1 to 500), and fewer after a batch took longer than `put_timeout_s`. Events that the
    town's limits removed before it took them are announced by an event ``sink_gap``. Its place among the events is kept in the
    town under its `name`. Of failures in a row only the first is reported: each report is an event, too.
    """

    name: str
    scope: Literal["host", "town"] = "town"
    batch: int = 200
    put_timeout_s: float = 30.0

    _size = _LARGEST_BATCH  # of the next batch, as its pace allows
    _failures = 0

    def wants(self, event: Event) -> bool:
        """Whether `put` is to be given this event. Quick: asked for each event."""
        return True

    def open(self) -> AbstractAsyncContextManager[None]:
        """What the sink needs while it is in use."""
        return _nothing()

    @abstractmethod
    async def put(self, events: Sequence[Event]) -> None:
        """Take a batch of events, oldest first. Raising means that none was taken; the batch comes again later."""

    async def run(self, town: Town) -> None:
        """Feed the sink until cancelled. Raises: what the first of several failures in a row raised; ServerUnreachable."""
        while True:
            try:
                await self._feed(town, EventCursor(town, self.name))
            except ServerUnreachable:
                raise
            except Exception:
                self._failures += 1
                if self._failures == 1:
                    raise
            await trio.sleep(min(_FIRST_RETRY_S * 2 ** min(self._failures, 16), _LONGEST_RETRY_S))

    async def _feed(self, town: Town, cursor: EventCursor) -> None:
        async with self.open():
            try:
                while True:
                    seen = town.position.value
                    if not await self._deliver(cursor):
                        await town.wait_for_change(seen)
            except trio.Cancelled:  # what has happened until now, such as the end of the kernel
                with trio.CancelScope(shield=True, relative_deadline=_LAST_S), suppress(Exception):
                    while await self._deliver(cursor):
                        pass
                raise

    async def _deliver(self, cursor: EventCursor) -> bool:
        """Pass on the next batch and store the new position; False when there is none."""
        self._size = max(1, min(self._size, int(self.batch)))
        events = await cursor.read(self._size)
        if not events:
            return False
        if wanted := [event for event in events if self.wants(event)]:
            bound_s, began = self.put_timeout_s, trio.current_time()
            try:
                with trio.fail_after(bound_s):
                    await self.put(wanted)
            except trio.TooSlowError:
                self._size = len(events) // 2
                raise
            if trio.current_time() - began < bound_s / 4:
                self._size = min(2 * self._size, _LARGEST_BATCH)
        # Shielded: a batch that was taken should not come again because this kernel is ending.
        with trio.CancelScope(shield=True, relative_deadline=_CURSOR_BOUND_S):
            await cursor.advance(events[-1])
        self._failures = 0
        return True


@asynccontextmanager
async def _nothing() -> AsyncGenerator[None]:
    yield
