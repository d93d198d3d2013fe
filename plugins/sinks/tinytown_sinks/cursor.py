"""Reading the event stream from a position that is kept in the town, so that no event is missed across restarts.

For services that act on events. Whoever only watches follows `Town.events`, which begins with now.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from tinytown.model.events import Event
from tinytown.model.ids import check_id
from tinytown.protocol import Keys, Operation
from tinytown.town import Town

_READ_AT_ONCE = 100


def position_of(keys: Keys, name: str) -> Operation[str | None]:
    """How far a sink, or whatever else reads events under a name, has read; None before its first one."""
    return Operation(("HGET", keys.cursors, name), lambda reply: None if reply is None else reply.decode())


def set_position(keys: Keys, name: str, position: str) -> Operation[str]:
    """Store how far a sink has read; the position."""
    return Operation(("HSET", keys.cursors, name, position), lambda _: position)


async def events_from(
    town: Town, cursor: str, wants: Callable[[Event], bool] = lambda event: True
) -> AsyncGenerator[Event]:
    """Each event that `wants` accepts, without end: at first since `town` was opened, later from where the last reader stopped.

    The position is kept in the town under the word `cursor`. An event counts as handled once the next one is asked for: the
    one in work comes again after a crash. An event ``sink_gap`` announces those that were removed before they were read.
    """
    kept = EventCursor(town, f"service:{check_id('a cursor', cursor)}")
    await kept.begin()
    while True:
        position = town.position.value
        events = await kept.read(_READ_AT_ONCE)
        for event in events:
            if wants(event):
                yield event
                await kept.advance(event)
        if events:
            await kept.advance(events[-1])
        else:
            await town.wait_for_change(position)


class EventCursor:
    """A position in the event stream, kept on the server under a name: each event is read at least once, in order."""

    def __init__(self, town: Town, name: str) -> None:
        self._town = town
        self._name = name
        #: As it was last read or stored.
        self.position = "0"

    async def begin(self) -> None:
        """Have a name that is not known yet begin with what has happened since the town was opened, not with the oldest event.

        A service is started beside the first rounds: had it begun with its own start, it would miss what they do by then.
        """
        if await self._town.run(position_of(self._town.operations.keys, self._name)) is None:
            await self._store(self._town.opened_at)

    async def read(self, count: int) -> tuple[Event, ...]:
        """The next events, at most `count`, until `advance`; none when there are none now.

        An event ``sink_gap`` announces those that were removed by the town's limits before they were read.
        """
        operations = self._town.operations
        kept = await self._town.run(position_of(operations.keys, self._name))
        position = self.position = kept or "0"
        events = await self._town.run(operations.events_from(position, count=count + 1))
        if events and events[0].id == position:
            return events[1:]
        if events and position not in ("0", before := _before(events[0].id)):
            members = {"sink": self._name, "after": position, "before": events[0].id}
            await self._town.run(operations.emit("sink_gap", members))
            await self._store(before)
        return events[:count]

    async def advance(self, event: Event) -> None:
        """Store that everything up to `event` was handled."""
        await self._store(event.id)

    async def _store(self, position: str) -> None:
        self.position = position
        await self._town.run(set_position(self._town.operations.keys, self._name, position))


def _before(position: str) -> str:
    """The greatest position below one in the event stream."""
    milliseconds, sequence = map(int, position.split("-"))
    return f"{milliseconds}-{sequence - 1}" if sequence else f"{milliseconds - 1}-{2**64 - 1}"
