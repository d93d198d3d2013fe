"""Reservations: what agents say that they are about to change, for a time, so that others keep away or ask. Advisory: nothing
is locked. Pure; where they are kept is in `reservation_keeper`.

A reservation ends with its task, when it is released, and after its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

import msgspec
from tinytown.errors import Refused, UsageError
from tinytown.model.text import shown

RESERVATIONS_FIELD = "reservations"
#: What `tt reserve` and `tt release` emit for an agent. `paths` are separated by line ends; no paths releases all.
RESERVED, RELEASED = "git_reserved", "git_released"

MOST_PATHS = 50
_MOST = 500
_LONGEST_PATH = 500
_NOTICED = 3


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


def reserved_notice(reservations: Sequence[Reservation]) -> str | None:
    """What ``tt status`` says of reservations, with the time of their end, because it is shown until they are looked at again."""
    if not reservations:
        return None
    said = [
        f"{', '.join(shown(path, 60) for path in each.paths[:_NOTICED])}{', ...' if len(each.paths) > _NOTICED else ''} "
        f"by {each.agent} until {datetime.fromtimestamp(each.until_ms / 1000, UTC):%b %d %H:%M} UTC"
        for each in reservations[:_NOTICED]
    ]
    more = len(reservations) - len(said)
    return f"reserved: {'; '.join(said)}{f'; and {more} more: tt reservations' if more else ''}"
