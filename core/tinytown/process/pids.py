"""Whether a process lives, by its number. Standard library only."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def is_running(pid: int) -> bool:
    """Whether the process exists and has not ended: an ended orphan stays a zombie where process 1 does not reap."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    if sys.platform != "linux":
        return True
    with (
        suppress(OSError),
        open(f"/proc/{pid}/stat", "rb") as stat,
    ):  # `reaper` reads more of it, and takes 1 ms to import
        return stat.read().rpartition(b") ")[2][:1] not in (b"Z", b"X")
    return False
