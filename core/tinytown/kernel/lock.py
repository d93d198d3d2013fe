"""The lock of a kernel on a town's directory: one kernel for each directory on a machine. Standard library only."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from tinytown.errors import Refused
from tinytown.process.pids import is_running

if TYPE_CHECKING:
    from pathlib import Path

_LOCK = "kernel.lock"
_LOCK_ATTEMPTS = 10
_LOCK_AGAIN_S = 0.01


@contextmanager
def kernel_lock(root: Path) -> Generator[Callable[[], bool]]:
    """Hold the town's directory for one kernel; yields whether the lock is still in it. Raises: Refused with the holder's pid."""
    path = _lock_path(root)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            _lock(fd)
        except BlockingIOError as error:
            pid = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            raise Refused(
                f"the kernel of this town is already running (pid {pid})",
                hint="tt status shows it, tt stop ends it",
                code="kernel_running",
                pid=pid,
            ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        try:
            yield lambda: _is_at(fd, path)
        finally:
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def running_kernel(root: Path) -> int | None:
    """The process id of the kernel that runs the town at `root` on this machine; None if none does. Changes nothing."""
    return kernel_with_state(_lock_path(root).parent)


def kernel_with_state(directory: Path | str) -> int | None:
    """Like `running_kernel`, for the town whose state is in `directory`. Quick to import and to call."""
    with suppress(OSError), open(os.path.join(directory, _LOCK), "rb") as lock:
        text = lock.read(32).strip()
        if not text.isdigit() or not is_running(int(text)):
            return None
        try:
            # The pid may have been reused. A shared lock for a moment, and only in this case: a kernel that starts
            # meanwhile tries again.
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(text)
    return None


def _lock_path(root: Path) -> Path:
    from tinytown.state import state_directory  # late: quick commands call `kernel_with_state`

    return state_directory(root) / _LOCK


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # a file system that does not answer now has not lost it


def _lock(fd: int) -> None:
    """Take the lock, which `running_kernel` may hold for a moment. Raises: BlockingIOError when a kernel has it."""
    for _ in range(_LOCK_ATTEMPTS):
        with suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_LOCK_AGAIN_S)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
