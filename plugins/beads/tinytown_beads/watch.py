"""Watch both sides for changes: events of the town, and inode, size and time of the bead file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tinytown_beads.report import Report
from tinytown_beads.store import BeadStore

#: How often the file is looked at, and how long both sides have to be quiet before they are brought together.
_LOOK_S = 0.5
#: Events that change nothing that a bead tells.
_OTHERS = frozenset(
    {"agent_reported", "agent_state_changed", "plugin_reported", "plugin_data_changed", "round_started"}
)


def watch_sync(store: BeadStore, file: Path, sync: Callable[[], Report]) -> Iterator[Report]:
    """The report of `sync`, at once and after each change, without end; after the first, only those with changes."""
    cursor = store.town.cursor()
    report = sync()
    yield report
    seen = _mark(file)
    while True:
        changed = False
        for batch in store.town.follow(cursor, until=time.monotonic() + _LOOK_S):
            if batch:
                cursor = batch[-1].id
                changed = changed or any(event.type not in _OTHERS for event in batch)
        if not changed and _mark(file) == seen:
            continue
        report = sync()
        seen = _mark(file)
        if report.file_changed or report.counts["created"] or report.counts["updated"] or report.counts["conflict"]:
            yield report


def _mark(file: Path) -> tuple[int, int, int] | None:
    """What identifies a version of the file."""
    try:
        about = file.stat()
    except OSError:
        return None
    return about.st_ino, about.st_size, about.st_mtime_ns
