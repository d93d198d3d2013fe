"""Memory and processor time of a process and all its descendants, as Linux tells in /proc. Knows nothing of towns."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Footprint:
    """`rss_bytes` now, `cpu_s` since the processes began. Shared pages count once per process."""

    rss_bytes: int
    cpu_s: float
    processes: int


def footprint_of(pid: int) -> Footprint:
    """The footprint of `pid` with its descendants; one that ends while we look counts as nothing."""
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    rss_bytes, cpu_s, processes = 0, 0.0, 0
    for member in _family(pid):
        with contextlib.suppress(OSError, IndexError):
            fields = _stat(member)
            cpu_s += (int(fields[11]) + int(fields[12])) / tick
            rss_bytes += int(fields[21]) * page
            processes += 1
    return Footprint(rss_bytes, cpu_s, processes)


def _family(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    family = [pid]
    for member in family:
        family.extend(children.get(member, ()))
    return family


def _stat(pid: int) -> list[str]:
    # The second field, the name, is in parentheses and may hold anything; what is left begins with the state.
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
