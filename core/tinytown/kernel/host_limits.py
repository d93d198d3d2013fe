"""How many rounds this machine can take now: what its open files allow, and none for a while after it has failed one."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import trio

from tinytown.errors import HostFailure

_FILES_OF_KERNEL = 64
_FILES_PER_ROUND = 16  # its pipes, its log, its socket and the connections to it
_RESERVED_INODES = 1000  # or one in a hundred
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 300.0


class HostLimits:
    """The rounds in progress, and whether another may begin. `trouble` is why the machine cannot run any; else empty.

    After a failure of the machine it waits, longer each time, and half as many rounds run at once; each that ends otherwise
    allows one more.
    """

    def __init__(self) -> None:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most = max(1, (files - _FILES_OF_KERNEL) // _FILES_PER_ROUND)
        self._allowed = self._most
        self._running = 0
        self._failures = 0
        self._until = 0.0
        self._waiting: dict[str, Callable[[], None]] = {}
        self._turns = 0  # so many rounds run one by one, so that one of them runs alone
        self.trouble = ""

    def enter(self, agent_id: str, wake: Callable[[], None]) -> tuple[str, float]:
        """Take a place for a round. If there is none: why, and in how many seconds to ask again; `wake` may come before."""
        if (wait_s := self._until - trio.current_time()) > 0:
            return f"its host waits: {self.trouble}", wait_s
        if self._running >= (1 if self._turns else self._allowed):
            self._waiting[agent_id] = wake
            why = " at a time, to find the one that ends its kernel" if self._turns else ""
            return f"its host runs as many rounds as it can: {self._running}{why}", _LONGEST_PAUSE_S
        self._waiting.pop(agent_id, None)
        self._running += 1
        return "", 0.0

    def leave(self) -> None:
        """Give the place back, to those who have waited longest."""
        self._running -= 1
        self._wake()

    def run_alone(self) -> bool:
        """Whether the round of whoever asks is the only one, and stays it; else they run one by one until its turn comes."""
        self._turns = 1 if self._running == 1 else self._running + len(self._waiting)
        return self._running == 1

    def forget(self, agent_id: str) -> None:
        """This agent needs no place for now."""
        self._waiting.pop(agent_id, None)
        self._wake()

    def fail(self, why: str) -> None:
        """The machine, or the server, has failed a round."""
        if self._until <= trio.current_time():  # else it failed several at once
            self._failures += 1
            self._allowed = max(1, min(self._allowed, self._running) // 2)
        self._until = trio.current_time() + min(_FIRST_PAUSE_S * 2 ** min(self._failures - 1, 16), _LONGEST_PAUSE_S)
        self.trouble = why

    def succeed(self) -> None:
        """A round has ended by itself, well or not."""
        self._failures, self.trouble = 0, ""
        self._allowed = min(self._allowed + 1, self._most)
        self._turns = max(0, self._turns - 1)

    def _wake(self) -> None:
        for _ in range(min((1 if self._turns else self._allowed) - self._running, len(self._waiting))):
            self._waiting.pop(next(iter(self._waiting)))()


def check_room(reserve_bytes: int, *directories: Path) -> None:
    """Raises: HostFailure if the disk of one of the directories has less than its reserve left, of space or of inodes."""
    for directory in directories:
        with suppress(FileNotFoundError, NotADirectoryError):
            disk = os.statvfs(directory)
            no_space = disk.f_blocks and disk.f_bavail * disk.f_frsize < reserve_bytes
            no_inodes = disk.f_files and disk.f_favail < min(_RESERVED_INODES, disk.f_files // 100)
            if (no_space or no_inodes) and not disk.f_flag & os.ST_RDONLY:
                what = (
                    f"less than limits.disk_reserve_bytes ({reserve_bytes:,}) is"
                    if no_space
                    else "hardly any inodes are"
                )
                raise HostFailure(f"{what} left on the disk of {directory}", hint="make room")


def raise_open_files() -> None:
    """Raise this process's limit of open files to what it may have; its commands keep the former one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # macOS accepts no more than this where there is no limit
        most = 10_240 if sys.platform == "darwin" and hard == resource.RLIM_INFINITY else hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
