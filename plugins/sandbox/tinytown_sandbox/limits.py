"""Limits that the system counts for all of a box: control groups, of version 2 or 1, where this user may make some.

Standard library only. A group is removed by the program that has made it or, if that was killed, by the next one.
Source: cgroups(7), and the kernel's documentation of both versions.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

_ROOT = "/sys/fs/cgroup"
_PREFIX = "tinytown-box-"
_REMOVE_S = 0.5


def make_groups(processes: int, memory_bytes: int) -> list[str]:
    """The directories of new groups with these limits (0: none). Empty where none can be made or none is needed."""
    wanted = {"pids": processes, "memory": memory_bytes}
    groups: list[str] = []
    for directory, controllers in places().items():
        limits = {name: wanted[name] for name in controllers if wanted[name]}
        if limits:
            remove_groups(_left_behind(directory))
            with suppress(OSError):
                group = f"{directory}/{_PREFIX}{os.getpid()}"
                os.mkdir(group)
                groups.append(group)
                for name, bound in limits.items():
                    _bound(group, name, bound)
    return groups


def join(groups: list[str]) -> None:
    """Put this process into them. Raises: OSError."""
    for group in groups:
        _write(f"{group}/cgroup.procs", "0")


def remove_groups(groups: list[str]) -> None:
    """Remove groups once they are empty, which takes the system some moments."""
    deadline = time.monotonic() + _REMOVE_S
    for group in groups:
        while os.path.isdir(group):
            try:
                os.rmdir(group)
            except OSError:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.005)


def places() -> dict[str, tuple[str, ...]]:
    """Directories in which this user can make groups, and the controllers that can limit there: ``pids``, ``memory``."""
    found: dict[str, tuple[str, ...]] = {}
    lines: list[str] = []
    with suppress(OSError), open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as listing:
        lines = listing.read().splitlines()
    for line in lines:
        number, names, path = line.split(":", 2)
        if number == "0":
            if place := _delegated(path):
                found[place] = tuple(
                    name for name in ("pids", "memory") if name in _read(f"{place}/cgroup.subtree_control")
                )
        else:
            own = tuple(name for name in names.split(",") if name in ("pids", "memory"))
            directory = f"{_ROOT}/{names}{path}".rstrip("/")
            if own and os.access(directory, os.W_OK) and os.path.exists(f"{directory}/cgroup.procs"):
                found[directory] = own
    return {place: controllers for place, controllers in found.items() if controllers}


def _delegated(path: str) -> str | None:
    """The nearest group of version 2, from ours upwards, whose children are limited and which this user may divide."""
    root = _ROOT if os.path.exists(f"{_ROOT}/cgroup.controllers") else f"{_ROOT}/unified"
    while True:
        directory = f"{root}{path}".rstrip("/")
        if _read(f"{directory}/cgroup.subtree_control"):
            usable = os.access(directory, os.W_OK) and os.access(f"{directory}/cgroup.procs", os.W_OK)
            return directory if usable else None  # to move out of a group takes the right to one that both are in
        if path in ("", "/"):
            return None
        path = os.path.dirname(path)


def _bound(group: str, name: str, bound: int) -> None:
    if name == "pids":
        _write(f"{group}/pids.max", str(bound))
    elif os.path.exists(f"{group}/memory.max"):
        _write(f"{group}/memory.max", str(bound))
        with suppress(OSError):
            _write(f"{group}/memory.swap.max", "0")
    else:
        _write(f"{group}/memory.limit_in_bytes", str(bound))


def _left_behind(directory: str) -> list[str]:
    """Groups of programs that are gone."""
    with suppress(OSError):
        names = [name for name in os.listdir(directory) if name.startswith(_PREFIX)]
        return [f"{directory}/{name}" for name in names if not os.path.exists(f"/proc/{name.removeprefix(_PREFIX)}")]
    return []


def _read(path: str) -> list[str]:
    with suppress(OSError), open(path, encoding="ascii") as file:
        return file.read().split()
    return []


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
