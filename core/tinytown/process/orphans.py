"""Processes that earlier kernels of a town left behind, found and ended. Blocking; it knows `/proc` and the run records.

The keepers end every tree by themselves; this is for what is left when kernel and keepers were all killed at once.
Two things lead to it: the record that each run keeper leaves in the run directory, and the environment that a run's
processes inherit. A process that was re-parented *and* had its environment cleared is beyond both.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tinytown.process.reaper import descendants_of, signal_each, start_time

END_BOUND_S = 5.0
_AGAIN_S = 0.02


@dataclass(frozen=True, slots=True)
class Orphan:
    """A process that was found and ended. `name` is its own short name; `round_id` is unknown for some descendants."""

    pid: int
    name: str
    round_id: str | None


def find_orphans(run_dir: Path, *, town_root: Path) -> list[Orphan]:
    """What `sweep_orphans` would begin with, by pid; nothing is ended. Means something only while no kernel serves the town."""
    spared = set(_self_and_ancestors()) | descendants_of(os.getpid())
    found = {
        pid: Orphan(pid, _name_of(pid), record.round_id)
        for pid, record in _read_records(run_dir)
        if (started := start_time(pid)) is not None and started == record.start_time
    }
    found |= {
        pid: Orphan(pid, _name_of(pid), round_id)
        for pid, round_id in _marked(town_root, None)
        if start_time(pid) is not None
    }
    return [orphan for pid, orphan in sorted(found.items()) if pid not in spared]


def sweep_orphans(run_dir: Path, *, town_root: Path, round_id: str | None = None) -> list[Orphan]:
    """Kill what earlier runs of this town left behind, at once and without asking; what was found, by pid.

    Only while no kernel serves the town: the caller holds its lock, or names with `round_id` one run that has lost its
    keepers. The caller and its ancestors are spared, and without `round_id` what it started, too. Ends after `END_BOUND_S`
    even if something cannot be killed.
    """
    found: dict[tuple[int, int], Orphan] = {}
    deadline = time.monotonic() + END_BOUND_S
    records = dict(_read_records(run_dir))
    spared = set(_self_and_ancestors())
    if round_id is None:  # else the run may still be below the caller: its keepers are dying
        spared |= descendants_of(os.getpid())
    while True:
        for pid, record in records.items():
            wanted = pid not in spared and round_id in (None, record.round_id)
            if wanted and (started := start_time(pid)) is not None and started == record.start_time:
                found.setdefault((pid, started), Orphan(pid, _name_of(pid), record.round_id))
        for pid, marker in _marked(town_root, round_id):
            if pid not in spared and (started := start_time(pid)) is not None:
                found.setdefault((pid, started), Orphan(pid, _name_of(pid), marker))
        alive = {pid: orphan for (pid, started), orphan in found.items() if start_time(pid) == started}
        # Stopped before their children are listed, or a child born meanwhile would be lost with its parent.
        signal_each(alive, signal.SIGSTOP)
        for pid, orphan in alive.items():
            for child in descendants_of(pid, spared):
                if (started := start_time(child)) is not None:
                    found.setdefault((child, started), Orphan(child, _name_of(child), orphan.round_id))
        alive_now = {pid for pid, started in found if start_time(pid) == started}
        if not alive_now or time.monotonic() > deadline:
            break
        if alive_now == set(alive):
            signal_each(alive_now, signal.SIGKILL)
            time.sleep(_AGAIN_S)
    for pid, record in records.items():
        if round_id in (None, record.round_id):
            (run_dir / f"{pid}.json").unlink(missing_ok=True)
    return sorted(found.values(), key=lambda orphan: orphan.pid)


@dataclass(frozen=True, slots=True)
class _Record:
    start_time: int | None
    round_id: str | None


def _read_records(run_dir: Path) -> Iterator[tuple[int, _Record]]:
    for path in run_dir.glob("*.json"):
        if path.stem.isdecimal():
            record = _Record(None, None)  # half written, or not to be read: of use to nobody, removed by the sweep
            with suppress(OSError, ValueError, TypeError, KeyError):
                fields = json.loads(path.read_bytes())
                record = _Record(int(fields["start_time"]), fields["round_id"])
            yield int(path.stem), record


def _marked(town_root: Path, round_id: str | None) -> Iterator[tuple[int, str]]:
    """Processes started in a run of this town, with the run's id, as far as their environment may be read."""
    root = os.path.realpath(town_root)
    for entry in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        environment: dict[bytes, bytes] = {}
        if entry.isdecimal():
            with suppress(OSError), open(f"/proc/{entry}/environ", "rb") as environ:
                for item in environ.read().split(b"\0"):
                    name, _, value = item.partition(b"=")
                    environment[name] = value
        town, marker = environment.get(b"TINYTOWN_TOWN"), environment.get(b"TINYTOWN_RUN_ID")
        if town and marker and os.path.realpath(os.fsdecode(town)) == root:
            found_id = os.fsdecode(marker)
            if round_id in (None, found_id):
                yield int(entry), found_id


def _self_and_ancestors() -> Iterator[int]:
    pid = os.getpid()
    while pid > 0:
        yield pid
        try:
            with open(f"/proc/{pid}/stat", "rb") as stat:
                pid = int(stat.read().rpartition(b")")[2].split()[1])
        except OSError:
            return


def _name_of(pid: int) -> str:
    with suppress(OSError), open(f"/proc/{pid}/comm", "rb") as comm:
        return comm.read().strip().decode("utf-8", "replace")
    return ""
