"""The town's events for many readers: the latest are kept here, so that a reader costs the server nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import msgspec
import trio
from tinytown.model.events import Event
from tinytown.town import Town
from tinytown_cli.public import describe, event_shape

_KEPT = 2_000
_PAGE = 500


class FeedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as readers get it: its members, in which ``text`` is one line for people, and the same as JSON."""

    id: str
    event: Event
    shape: dict[str, Any]
    encoded: bytes


def position_key(position: str) -> tuple[int, int]:
    """What positions are ordered by. Raises: ValueError for a text that is none."""
    ms, _, sequence = position.partition("-")
    return int(ms), int(sequence or 0)


class EventFeed:
    """Events as they happen. `take` is called with each, see `Town.subscribe`; `follow` reads them.

    `plugin_text` has the words of plugins about events of theirs.
    """

    def __init__(self, town: Town, plugin_text: Callable[[Event], str | None]) -> None:
        self._town = town
        self._plugin_text = plugin_text
        self._kept: deque[FeedEvent] = deque(maxlen=_KEPT)
        self._begin = town.position.value
        self._changed = trio.Event()

    def take(self, event: Event) -> None:
        """Keep an event, and wake those who wait for it."""
        if len(self._kept) == _KEPT:
            self._begin = self._kept[0].id
        self._kept.append(self.shaped(event))
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    @property
    def changed(self) -> trio.Event:
        """Set with the next event."""
        return self._changed

    async def follow(self, after: str) -> AsyncGenerator[Sequence[FeedEvent]]:
        """The events behind the position `after` in batches, without end. Raises: ServerUnreachable."""
        while True:
            changed = self._changed
            batch = await self.behind(after)
            if batch:
                after = batch[-1].id
                yield batch
            else:
                await changed.wait()

    async def behind(self, after: str) -> list[FeedEvent]:
        """Some of the events behind a position, the oldest first; none if there is none yet."""
        key = position_key(after)
        if key >= position_key(self._begin):
            recent: list[FeedEvent] = []
            for event in reversed(self._kept):
                if position_key(event.id) <= key:
                    break
                recent.append(event)
            return recent[::-1]
        events = await self._town.run(self._town.operations.events_after(after, count=_PAGE))
        return [self.shaped(event) for event in events]

    def shaped(self, event: Event) -> FeedEvent:
        """An event as readers get it."""
        shape = {**event_shape(event), "text": describe(event, self._plugin_text)}
        return FeedEvent(id=event.id, event=event, shape=shape, encoded=msgspec.json.encode(shape))
