"""Whether workers of an old town still run: processes of this machine, and agents that were alive a moment ago elsewhere."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from tinytown.model.time import parse_rfc3339

from tinytown_migrate.source import OldTown

#: For so long an old worker may live without a sign of life; while its CLI works it gives none.
_SIGN_OF_LIFE_S = 120.0
_PS_S = 10.0


class OldWorker(msgspec.Struct, frozen=True, kw_only=True):
    """A worker by its agent's name: its process on this machine, or how long ago it was alive."""

    name: str
    pid: int | None = None
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """For people."""
        return f"{self.name} (process {self.pid})" if self.pid else f"{self.name} (alive {self.seconds:.0f} s ago)"


def find_workers(town: OldTown) -> list[OldWorker]:
    """The workers of the old town that run, or may run, by name."""
    pids = dict(_loops(town))
    found: list[OldWorker] = []
    for id_, fields in town.agents.items():
        name = str(fields.get("name", id_))
        seconds = _silence_s(fields)
        if id_ in pids:
            found.append(OldWorker(name=name, pid=pids[id_]))
        elif str(fields.get("state", "")).lower() not in ("stopped", "error", "paused") and seconds < _SIGN_OF_LIFE_S:
            found.append(OldWorker(name=name, seconds=seconds))
    return sorted(found, key=lambda worker: worker.name)


def _silence_s(fields: dict[str, Any]) -> float:
    try:
        return max(0.0, time.time() - parse_rfc3339(str(fields["last_heartbeat"])) / 1000)
    except (KeyError, ValueError):
        return float("inf")


def _loops(town: OldTown) -> Iterator[tuple[str, int]]:
    """Ids of agents and the processes ``tt ... agent-loop NAME ID ROUNDS`` of this machine."""
    for pid, words in _commands():
        if "agent-loop" in words[:-2]:
            id_ = words[words.index("agent-loop") + 2].lower()
            if id_ in town.agents:
                yield id_, pid


def _commands() -> Iterator[tuple[int, list[str]]]:
    """Every process with the words of its command."""
    if not Path("/proc/self/cmdline").exists():  # macOS
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                ["ps", "-axo", "pid=,args="], capture_output=True, text=True, timeout=_PS_S, check=True
            )
            for line in done.stdout.splitlines():
                pid, *words = line.split()
                yield int(pid), words
        return
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield (
                int(entry.name),
                [word.decode("utf-8", "replace") for word in (entry / "cmdline").read_bytes().split(b"\0")],
            )
