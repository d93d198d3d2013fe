"""Watch all sides for changes: events of the town, the bead file, and the database of `bd`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path

from tinytown.errors import TinytownError

from tinytown_beads.bd_cli import find_bd
from tinytown_beads.report import Report
from tinytown_beads.store import BeadStore

#: How long events are collected before the sides are brought together.
_COLLECT_S = 0.5
#: Events that change nothing that a bead tells.
_OTHERS = frozenset(
    {
        "agent_activity",
        "agent_reported",
        "agent_state_changed",
        "plugin_reported",
        "plugin_data_changed",
        "round_started",
    }
)


class Pace:
    """Intervals that grow from `shortest_s` to `longest_s` until they are reset."""

    def __init__(self, shortest_s: float, longest_s: float) -> None:
        self.shortest_s, self.longest_s = shortest_s, longest_s
        self.reset()

    def reset(self) -> None:
        """Begin again with the shortest."""
        self._next_s = self.shortest_s

    def next(self) -> float:
        """The next interval in seconds."""
        interval_s, self._next_s = self._next_s, min(self._next_s * 1.5, self.longest_s)
        return interval_s


def watch_sync(
    store: BeadStore, file: Path, sync: Callable[[], Report], on_error: Callable[[TinytownError], None]
) -> Iterator[Report]:
    """The report of `sync`, at once and after each change, without end; after the first, only those with changes.

    A sync that fails later is passed to `on_error` and repeated. Raises: errors of the first.
    """
    # The file and a local database are looked at; one on another machine has to be asked, which takes a process.
    looks, asks = Pace(0.5, 4.0), Pace(5.0, 60.0)
    cursor = store.town.cursor()
    yield sync()
    seen, local = _mark(store, file)
    due = math.inf if local else time.monotonic() + asks.next()
    while True:
        try:
            cursor, changed = _next_change(store, cursor, min(due, time.monotonic() + looks.next()))
            if changed or _mark(store, file)[0] != seen:
                looks.reset()
                asks.reset()
            elif time.monotonic() < due:
                continue
            report = sync()
            seen, local = _mark(store, file)
            due = math.inf if local else time.monotonic() + asks.next()
        except TinytownError as error:
            on_error(error)
            due = time.monotonic() + asks.next()
            time.sleep(looks.next())  # without a server nothing else waits
            continue
        if report.file_changed or report.counts["created"] or report.counts["updated"] or report.counts["conflict"]:
            yield report


def _next_change(store: BeadStore, cursor: str, until: float) -> tuple[str, bool]:
    """The cursor after the events until then, or after the first change and those that follow it soon."""
    changed = False
    for batch in store.town.follow(cursor, until=until):
        if batch:
            cursor = batch[-1].id
            changed = changed or any(event.type not in _OTHERS for event in batch)
        if changed:
            break
    if changed:
        for batch in store.town.follow(cursor, until=time.monotonic() + _COLLECT_S):
            cursor = batch[-1].id if batch else cursor
    return cursor, changed


def _mark(store: BeadStore, file: Path) -> tuple[Hashable, bool]:
    """What identifies the versions of the file and of the database, and whether all of them could be looked at."""
    program = find_bd(file, store.settings)
    sign = program.sign() if program else frozenset[tuple[str, int, int]]()
    try:
        about = file.stat()
        version = (about.st_ino, about.st_size, about.st_mtime_ns)
    except OSError:
        version = None
    return (version, sign), program is None or bool(sign)
