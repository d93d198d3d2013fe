"""Reservations: what agents say that they are about to change, for a time, so that others keep away or ask. Advisory: nothing
is locked.

All are in one field of the plugin's data. A person writes it; an agent says it by an event, in which the town itself names who
sends it, and the queue's host writes it down. A reservation ends with its task, when it is released, and after its time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any, TypeAlias

import msgspec
from tinytown.errors import NotFound, Refused, UsageError
from tinytown.model.events import Event, OtherEvent, TaskStateChanged
from tinytown.model.text import shown
from tinytown.protocol import TownOperations
from tinytown.town import Town
from tinytown_sinks import events_from

from tinytown_git.work import PLUGIN, Run

#: What becomes of the reservations.
Changed: TypeAlias = Callable[[Sequence["Reservation"]], Sequence["Reservation"]]

RESERVATIONS_FIELD = "reservations"
#: What `tt reserve` and `tt release` emit for an agent. `paths` are separated by line ends; no paths releases all.
RESERVED, RELEASED = "git_reserved", "git_released"

MOST_PATHS = 50
_MOST = 500
_LONGEST_PATH = 500
_LONGEST_MS = 7 * 86_400_000
_NOTE = 300
_ENDED = ("completed", "failed", "cancelled")


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """Paths, or patterns of them, that `agent` (or ``supervisor``) reserves until `until_ms`, for a task if it names one."""

    agent: str
    paths: tuple[str, ...]
    until_ms: int
    task: str = ""
    note: str = ""


def read_reservations(value: Any, now_ms: int) -> tuple[Reservation, ...]:
    """Those whose time is not over, from the plugin's data."""
    try:
        found = () if value is None else msgspec.convert(value, tuple[Reservation, ...])
    except msgspec.ValidationError:
        return ()
    return tuple(each for each in found if each.until_ms > now_ms)


def clean_paths(words: Sequence[str]) -> tuple[str, ...]:
    """Paths as they are compared: from the top of the repository. Raises: UsageError."""
    cleaned: list[str] = []
    for word in words:
        path = PurePosixPath(word)
        if not word.strip() or path.is_absolute() or ".." in path.parts or "\n" in word or len(word) > _LONGEST_PATH:
            raise UsageError(
                f"expected a path or pattern from the top of the repository, got {shown(word)!r}",
                hint="src/api or docs/*.md",
            )
        cleaned.append(str(path))
    if not 0 < len(cleaned) <= MOST_PATHS:
        raise UsageError(f"expected 1 to {MOST_PATHS} paths, got {len(cleaned)}")
    return tuple(dict.fromkeys(cleaned))


def overlap(one: str, other: str) -> bool:
    """Whether two paths or patterns may mean the same file: equal, one above the other, or one that fits the other."""
    ours, theirs = PurePosixPath(one).parts, PurePosixPath(other).parts
    # Without a part in common to compare, the shorter one is a directory above the other one; "." is above all.
    return all(fnmatchcase(a, b) or fnmatchcase(b, a) for a, b in zip(ours, theirs, strict=False))


def conflicts(reservations: Sequence[Reservation], agent: str, paths: Sequence[str]) -> list[Reservation]:
    """The reservations of others that overlap with these paths."""
    return [
        each
        for each in reservations
        if each.agent != agent and any(overlap(mine, theirs) for mine in paths for theirs in each.paths)
    ]


def with_reservation(reservations: Sequence[Reservation], new: Reservation) -> tuple[Reservation, ...]:
    """With another one, whose paths are no longer in an older one of the same agent. Raises: Refused if there are too many."""
    kept = without_paths(reservations, new.agent, new.paths)
    if len(kept) >= _MOST:
        raise Refused(f"expected at most {_MOST} reservations in a town", hint="tt release")
    return (*kept, new)


def without_paths(reservations: Sequence[Reservation], agent: str, paths: Sequence[str]) -> tuple[Reservation, ...]:
    """Without these paths of an agent; without all of its own if none is named."""
    kept: list[Reservation] = []
    for each in reservations:
        left = tuple(path for path in each.paths if paths and path not in paths)
        if each.agent != agent:
            kept.append(each)
        elif left:
            kept.append(msgspec.structs.replace(each, paths=left))
    return tuple(kept)


def describe(reservation: Reservation, now_ms: int) -> str:
    """One line about a reservation."""
    minutes = max(1, round((reservation.until_ms - now_ms) / 60_000))
    time_left = f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
    note = f": {shown(reservation.note, 100)}" if reservation.note else ""
    return f"{reservation.agent} ({time_left}) {', '.join(shown(path, 100) for path in reservation.paths)}{note}"


async def change(operations: TownOperations, run: Run, changed: Changed) -> tuple[Reservation, ...]:
    """Write what the function `changed` makes of the reservations, however often others write meanwhile; what is written."""
    while True:
        kept = await run(operations.plugin_field(PLUGIN, RESERVATIONS_FIELD))
        after = changed(read_reservations(kept, int(time.time() * 1000)))
        value = msgspec.to_builtins(after) or None
        if value == kept or await run(operations.set_plugin_field(PLUGIN, RESERVATIONS_FIELD, value, expected=kept)):
            return tuple(after)


class ReservationKeeper:
    """Writes down what agents reserve and release, and ends what belongs to finished tasks."""

    async def run(self, town: Town) -> None:
        """Listen until cancelled, from where the last one stopped."""
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
