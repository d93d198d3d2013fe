"""The lock that says that a kernel runs a town on this machine: one for a directory. Knows files, not kernels."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from tinytown.config import RUNTIME_DIRECTORY
from tinytown.errors import Refused

_LOCK_ATTEMPTS = 10
_LOCK_AGAIN_S = 0.01


@contextmanager
def kernel_lock(root: Path) -> Generator[Callable[[], bool]]:
    """Holds the town's directory for one kernel; asks whether it is still there, and this is its lock.

    Raises: Refused with the pid of the one that has it.
    """
    path = _lock_path(root)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            _lock(fd)
        except BlockingIOError as error:
            pid = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            raise Refused(
                f"a kernel runs this town already (pid {pid})",
                hint="tt status looks at it, tt stop ends it",
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


def _lock_path(root: Path) -> Path:
    path = root / RUNTIME_DIRECTORY / "kernel.lock"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    return path


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # a file system that does not answer now has not lost it


def _lock(fd: int) -> None:
    """Take the lock; one that only somebody who looks has (`is_running`) is free again in a moment.

    Raises: BlockingIOError when a kernel has it.
    """
    for attempt in range(_LOCK_ATTEMPTS):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt + 1 == _LOCK_ATTEMPTS:
                raise
            time.sleep(_LOCK_AGAIN_S)
        else:
            return


def is_running(root: Path) -> bool:
    """Whether a kernel of this machine holds the town's directory."""
    fd = os.open(_lock_path(root), os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(fd)
