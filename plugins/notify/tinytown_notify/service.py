"""Carries the town's events to the channels: from the event stream into a queue in the town, and from there to the receivers.

The queue holds what a channel wants and nothing else, so that a receiver may be away for longer than the town keeps its
events, at night or until the time of a digest. Each channel has its own position, queue and pace: none waits for another.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import trio
from tinytown.contracts import Service
from tinytown.errors import ConfigError, ServerUnreachable, TinytownError
from tinytown.protocol import Keys, Operation
from tinytown.town import Town
from tinytown_sinks import EventCursor, position_of, set_position

from tinytown_notify import queue
from tinytown_notify.delivery import Undelivered, retry_delay_s
from tinytown_notify.news import NewsReader
from tinytown_notify.queue import Item, Waiting
from tinytown_notify.settings import Channel, Settings
from tinytown_notify.targets import Target, open_target

_log = logging.getLogger("tinytown.notify")

_AT_ONCE = 500
_LOOK_BACK_S = 60
_SETTLE_EVERY = 50
_MOST_ATTEMPTS = 10
_PAUSE_S = 1.0
_CONFIG_PAUSE_S = 60.0
_LONGEST_SLEEP_S = 300.0
_SETTLE_S = 1.0
_FINISH_S = 2.0
#: The event by which the queue tells that dead letters wait again.
_REDELIVERED = "notifications_redelivered"


class NotifyService(Service):
    """Serves all channels, in one kernel of the town."""

    name = "notify"
    scope: Literal["host", "town"] = "town"

    def __init__(self, settings: Settings, root: Path) -> None:
        self._settings = settings
        self._root = root

    async def run(self, town: Town) -> None:
        """Serve the channels until cancelled; then each sends what it can within 2 s."""
        async with trio.open_nursery() as nursery:
            for channel in self._settings.channels():
                nursery.start_soon(_ChannelWorker(town, self._root, self._settings, channel).run)


class _ChannelWorker:
    """One channel at work: a task that fills its queue, and one that empties it."""

    def __init__(self, town: Town, root: Path, settings: Settings, channel: Channel) -> None:
        self._town = town
        self._root = root
        self._settings = settings
        self._channel = channel
        self._cursor_name = f"notify.{channel.name}"
        self._cursor = EventCursor(town, self._cursor_name)
        self._news = NewsReader(town, channel)
        self._follows = False
        self._filled = trio.Event()
        self._settled = trio.Event()
        self._target: Target | None = None
        self._attempts = 0  # in vain, since the last success

    async def run(self) -> None:
        """Serve the channel until cancelled, then send what is there: it may be why the town ends."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_persist, self._fill_always)
                nursery.start_soon(_persist, self._empty_always)
                nursery.start_soon(self._hurry_at_the_end)
        finally:
            with trio.CancelScope(shield=True, relative_deadline=_FINISH_S), suppress(TinytownError):
                await self._finish()

    async def _hurry_at_the_end(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            if self._target:
                self._target.hurry()

    # -- from the event stream into the queue

    async def _fill_always(self) -> None:
        await self._begin()
        self._follows = True
        while True:
            position = self._town.position.value
            if not await self._fill():
                await self._town.wait_for_change(position)

    async def _begin(self) -> None:
        """Have a new channel begin a minute ago: a question that is asked while the kernel starts is sent, old ones are not."""
        run, operations = self._town.run, self._town.operations
        if await run(position_of(operations.keys, self._cursor_name)) is None:
            now_s = await run(Operation(("TIME",), lambda reply: int(reply[0])))
            until = (now_s - _LOOK_BACK_S) * 1000
            last_before = ("XREVRANGE", operations.keys.events, until, "-", "COUNT", 1)
            position = await run(Operation(last_before, lambda reply: reply[0][0].decode() if reply else "0"))
            await run(set_position(operations.keys, self._cursor_name, position))

    async def _fill(self) -> bool:
        """Put what the channel wants of the next events into its queue; False when there are none."""
        events = await self._cursor.read(_AT_ONCE)
        if not events:
            return False
        items = await self._news.read(events)
        put = queue.put(self._keys, self._channel.name, items, bound=self._settings.queued)
        while items:
            settled = self._settled = trio.Event()
            if await self._town.run(put):
                break
            await settled.wait()  # there is no room; the events stay where they are
        await self._cursor.advance(events[-1])
        if items or any(event.type == _REDELIVERED for event in events):
            self._filled.set()
        return True

    # -- from the queue to the receiver

    async def _empty_always(self) -> None:
        while True:
            try:
                async with open_target(self._channel, self._root, self._town.name) as target:
                    self._target = target
                    await self._settle()  # what failed before may be fixed
                    while True:
                        filled = self._filled = trio.Event()
                        wait_s = await self._empty(target)
                        if self._attempts:
                            await trio.sleep(wait_s)
                        else:
                            with trio.move_on_after(wait_s):
                                await filled.wait()
            except ConfigError as error:
                await self._settle(failure=str(error))
                await trio.sleep(_CONFIG_PAUSE_S)  # a file with the address may appear

    async def _empty(self, target: Target) -> float:
        """Deliver what is due; in how many seconds to look again, unless something comes (inf: not before)."""
        waiting = await self._take()
        if not waiting.items:
            return float("inf")
        due_s = self._due_s(waiting)
        return min(due_s, _LONGEST_SLEEP_S) if due_s > 0 else await self._deliver(target, waiting.items)

    async def _take(self) -> Waiting:
        return await self._town.run(queue.take(self._keys, self._channel.name, _AT_ONCE))

    def _due_s(self, waiting: Waiting) -> float:
        """In how many seconds these may be delivered; the clock of the wall may jump."""
        now = time.time()
        oldest = waiting.items[0].happened_s
        return self._channel.schedule.due_at(oldest=oldest, last=waiting.last_s, now=now) - now

    async def _deliver(self, target: Target, items: Sequence[Item]) -> float:
        """Hand `items` over in order, as many at once as the target takes; 0, or in how many seconds to try again."""
        left = deque(items[at : at + target.size] for at in range(0, len(items), target.size))
        delivered: list[str] = []
        try:
            while left:
                try:
                    await self._send(target, left[0])
                except Undelivered as error:
                    await self._settle(delivered)
                    delivered = []
                    self._attempts += 1
                    if not (error.final or (error.answered and self._attempts >= _MOST_ATTEMPTS)):
                        return await self._fail(error, [item for each in left for item in each])
                    await self._give_up(error, left)
                    continue
                self._attempts = 0
                delivered += [item.id for item in left.popleft()]
                if len(delivered) >= _SETTLE_EVERY:
                    await self._settle(delivered)
                    delivered = []
        finally:
            if delivered:  # shielded: what was delivered should not come again because this kernel is ending
                with trio.CancelScope(shield=True, relative_deadline=_SETTLE_S):
                    await self._settle(delivered)
        return 0.0

    async def _send(self, target: Target, items: Sequence[Item]) -> None:
        try:
            await target.send(items)
        except (Undelivered, TinytownError):
            raise
        except Exception as error:  # of a library or a receiver: no reason to hold up the other channels
            _log.warning("channel %s cannot send", self._channel.name, exc_info=error)
            raise Undelivered(f"{type(error).__name__} while sending; the kernel's log has more") from error

    async def _fail(self, error: Undelivered, left: Sequence[Item]) -> float:
        """Note a failure, and give up what has waited too long; in how many seconds to try again."""
        oldest_s = time.time() - self._settings.give_up_after_s
        expired = {item.id: error.reason for item in left if item.happened_s < oldest_s}
        await self._settle(dead=expired, failure=error.reason)
        return retry_delay_s(self._attempts, error.wait_s)

    async def _give_up(self, error: Undelivered, left: deque[Sequence[Item]]) -> None:
        """Make the first of `left` a dead letter; of several items, send each half by itself to find the one that is refused."""
        refused = left.popleft()
        self._attempts = 0
        if len(refused) > 1:
            half = len(refused) // 2
            left.extendleft((refused[half:], refused[:half]))
        else:
            await self._settle(dead={refused[0].id: error.reason})

    async def _settle(
        self, delivered: Sequence[str] = (), *, dead: Mapping[str, str] | None = None, failure: str = ""
    ) -> None:
        await self._town.run(
            queue.settle(
                self._keys,
                self._channel.name,
                delivered=delivered,
                dead=dead or {},
                failure=failure,
                dead_bound=self._settings.dead_letters,
            )
        )
        self._settled.set()

    async def _finish(self) -> None:
        """Send what has happened until now and is due."""
        while self._follows and await self._fill():
            pass
        waiting = await self._take()
        if not waiting.items or self._attempts:
            return
        async with open_target(self._channel, self._root, self._town.name) as target:
            target.hurry()
            while waiting.items and self._due_s(waiting) <= 0 and not await self._deliver(target, waiting.items):
                waiting = await self._take()

    @property
    def _keys(self) -> Keys:
        return self._town.operations.keys


async def _persist(work: Callable[[], Awaitable[None]]) -> None:
    """Do `work`, and do it again when the server was away."""
    while True:
        try:
            await work()
        except ServerUnreachable:
            await trio.sleep(_PAUSE_S)
