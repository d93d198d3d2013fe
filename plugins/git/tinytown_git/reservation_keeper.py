"""Keeps the reservations in one field of the plugin's data.

A person writes it; an agent says it by an event, in which the town itself names who sends it, and the queue's host writes it
down.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from typing import TypeAlias

import msgspec
import trio
from tinytown.errors import NotFound, Refused, UsageError
from tinytown.model.events import Event, OtherEvent, TaskStateChanged
from tinytown.protocol import TownOperations
from tinytown.town import Town
from tinytown_sinks import events_from

from tinytown_git.reservations import (
    RELEASED,
    RESERVATIONS_FIELD,
    RESERVED,
    Reservation,
    clean_paths,
    read_reservations,
    with_reservation,
    without_paths,
)
from tinytown_git.work import PLUGIN, Records, Run

#: What becomes of the reservations.
Changed: TypeAlias = Callable[[Sequence[Reservation]], Sequence[Reservation]]

_LONGEST_MS = 7 * 86_400_000
_NOTE = 300
_ENDED = ("completed", "failed", "cancelled")
_EXPIRE_EVERY_S = 60.0


async def change(operations: TownOperations, run: Run, changed: Changed) -> tuple[Reservation, ...]:
    """Write what the function `changed` makes of the reservations, however often others write meanwhile; what is written."""
    while True:
        kept = await run(operations.plugin_field(PLUGIN, RESERVATIONS_FIELD))
        after = changed(read_reservations(kept, int(time.time() * 1000)))
        value = msgspec.to_builtins(after) or None
        if value == kept:
            return tuple(after)
        if await run(operations.set_plugin_field(PLUGIN, RESERVATIONS_FIELD, value, expected=kept)):
            await Records(operations, run).write_notice()
            return tuple(after)


class ReservationKeeper:
    """Writes down what agents reserve and release, and ends what belongs to finished tasks."""

    async def run(self, town: Town) -> None:
        """Listen until cancelled, from where the last one stopped."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._expire, town)
            await self._listen(town)

    async def _expire(self, town: Town) -> None:
        """Remove reservations whose time is over, so that no status shows them."""
        while True:
            await change(town.operations, town.run, lambda live: live)
            await trio.sleep(_EXPIRE_EVERY_S)

    async def _listen(self, town: Town) -> None:
        async with aclosing(events_from(town, "git-reservations", _concerns)) as events:
            async for event in events:
                with suppress(NotFound, Refused, UsageError, ValueError):
                    await self._handle(town, event)

    async def _handle(self, town: Town, event: Event) -> None:
        if isinstance(event, TaskStateChanged):
            ended = event.task
            await change(town.operations, town.run, lambda now: [each for each in now if each.task != ended])
        elif isinstance(event, OtherEvent):
            agent = (await town.run(town.operations.agent(event.fields.get("agent", "")))).name
            words = [word for word in event.fields.get("paths", "").split("\n") if word]
            if event.type == RELEASED:
                await change(town.operations, town.run, lambda now: without_paths(now, agent, words))
                return
            now_ms = int(time.time() * 1000)
            new = Reservation(
                agent=agent,
                paths=clean_paths(words),
                until_ms=min(int(event.fields.get("until_ms", "0")), now_ms + _LONGEST_MS),
                task=event.fields.get("task", ""),
                note=event.fields.get("note", "")[:_NOTE],
            )
            await change(town.operations, town.run, lambda now: with_reservation(now, new))


def _concerns(event: Event) -> bool:
    if isinstance(event, TaskStateChanged):
        return event.new in _ENDED
    return isinstance(event, OtherEvent) and event.type in (RESERVED, RELEASED)
