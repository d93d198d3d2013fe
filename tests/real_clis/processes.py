"""Processes of the real CLIs, as the system shows them, and waiting for what they do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import trio


async def until(claim: Callable[[], bool]) -> None:
    """Return once the claim holds."""
    while not claim():  # noqa: ASYNC110 - a process of somebody else's rings no bell
        await trio.sleep(0.02)


def started_processes(root: Path) -> Iterator[int]:
    """The commands that the run supervisors of the town at `root` have started."""
    mark = os.fsencode(root)
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if (
                Path(f"/proc/{parent}/comm").read_text().strip() == "tt-run"
                and mark in (entry / "environ").read_bytes()
            ):
                yield int(entry.name)
        except (OSError, IndexError, ValueError):
            continue
