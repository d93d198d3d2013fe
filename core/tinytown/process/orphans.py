"""Finds and ends processes that earlier kernels of a town left behind. Blocking; knows `/proc` and the run records.

The reaper ends every tree by itself; this is for what is left when kernel, reaper and run supervisors were all killed
at once. It goes by the record that each run supervisor leaves in the run directory, and by the environment that a run's
processes inherit. A process that was re-parented *and* had its environment cleared cannot be found.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tinytown.process.reaper import descendants_of, round_id_in, signal_each, start_time, stat_of

END_BOUND_S = 5.0
_AGAIN_S = 0.02


@dataclass(frozen=True, slots=True)
class Orphan:
    """A process that was left behind. `name` is its command name; `round_id` is unknown for some descendants."""

    pid: int
    name: str
    round_id: str | None


def find_orphans(run_dir: Path, *, town_root: Path) -> list[Orphan]:
    """What `sweep_orphans` would begin with, by pid; ends nothing. Valid only while no kernel runs the town."""
    spared = set(_self_and_ancestors()) | descendants_of(os.getpid())
    orphans = _left_behind(dict(_read_records(run_dir)), town_root, None, spared)
    return sorted(orphans.values(), key=lambda orphan: orphan.pid)


def sweep_orphans(run_dir: Path, *, town_root: Path, round_id: str | None = None) -> list[Orphan]:
    """Kill (SIGKILL) what earlier runs of this town left behind; the processes, by pid.

    Only while no kernel runs the town: the caller holds its lock, or names with `round_id` one run that has lost its
    supervisor. The caller and its ancestors are spared, and without `round_id` what it started, too. Returns after
    `END_BOUND_S` even if something cannot be killed.
    """
    orphans: dict[tuple[int, int], Orphan] = {}
    deadline = time.monotonic() + END_BOUND_S
    records = dict(_read_records(run_dir))
    spared = set(_self_and_ancestors())
    if round_id is None:  # else the run may still be below the caller: its supervisor is ending
        spared |= descendants_of(os.getpid())
    while True:
        orphans = _left_behind(records, town_root, round_id, spared) | orphans
        alive = {pid: orphan for (pid, started), orphan in orphans.items() if start_time(pid) == started}
        # Stopped before their children are listed, or a child born meanwhile would be lost with its parent.
        signal_each(alive, signal.SIGSTOP)
        for pid, orphan in alive.items():
            for child in descendants_of(pid, spared):
                if (started := start_time(child)) is not None:
                    orphans.setdefault((child, started), Orphan(child, _name_of(child), orphan.round_id))
        alive_now = {pid for pid, started in orphans if start_time(pid) == started}
        if not alive_now or time.monotonic() > deadline:
            break
        if alive_now == set(alive):
            signal_each(alive_now, signal.SIGKILL)
            time.sleep(_AGAIN_S)
    for pid, record in records.items():
        if round_id in (None, record.round_id):
            (run_dir / f"{pid}.json").unlink(missing_ok=True)
    return sorted(orphans.values(), key=lambda orphan: orphan.pid)


@dataclass(frozen=True, slots=True)
class _Record:
    start_time: int | None
    round_id: str | None


def _left_behind(
    records: Mapping[int, _Record], town_root: Path, round_id: str | None, spared: Collection[int]
) -> dict[tuple[int, int], Orphan]:
    """The living processes that a record or their environment names, by pid and start time."""
    recorded = [
        (pid, record.round_id)
        for pid, record in records.items()
        if round_id in (None, record.round_id) and start_time(pid) == record.start_time
    ]
    return {
        (pid, started): Orphan(pid, _name_of(pid), marker)
        for pid, marker in (*recorded, *_marked(town_root, round_id))
        if pid not in spared and (started := start_time(pid)) is not None
    }


def _read_records(run_dir: Path) -> Iterator[tuple[int, _Record]]:
    for path in run_dir.glob("*.json"):
        if path.stem.isdecimal():
            record = _Record(None, None)  # half written or unreadable: of no use, removed by the sweep
            with suppress(OSError, ValueError, TypeError, KeyError):
                fields = json.loads(path.read_bytes())
                record = _Record(int(fields["start_time"]), fields["round_id"])
            yield int(path.stem), record


def _marked(town_root: Path, round_id: str | None) -> Iterator[tuple[int, str]]:
    """Processes started in a run of this town, with the run's id, as far as their environment may be read."""
    root = os.path.realpath(town_root)
    for entry in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        environment: dict[str, str] = {}
        if entry.isdecimal():
            with suppress(OSError), open(f"/proc/{entry}/environ", "rb") as environ:
                items = os.fsdecode(environ.read()).split("\0")
                environment = {name: value for name, _, value in (item.partition("=") for item in items)}
        town, marker = environment.get("TINYTOWN_TOWN"), round_id_in(environment)
        if town and marker and os.path.realpath(town) == root and round_id in (None, marker):
            yield int(entry), marker


def _self_and_ancestors() -> Iterator[int]:
    pid = os.getpid()
    while pid > 0:
        yield pid
        fields = stat_of(pid)
        pid = int(fields[1]) if fields else 0


def _name_of(pid: int) -> str:
    with suppress(OSError), open(f"/proc/{pid}/comm", "rb") as comm:
        return comm.read().strip().decode("utf-8", "replace")
    return ""
