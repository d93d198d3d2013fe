"""Bead files on disk: found, read within bounds, replaced atomically. Knows nothing of their content."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Generator
from pathlib import Path
from uuid import uuid4

from tinytown.errors import NotFound, Refused, TinytownError, UsageError
from tinytown.files import sync_directory

LIMIT_BYTES = 1 << 30

#: Where a directory may have its beads: the names of today, then those of old programs.
_NAMES = ("issues.jsonl", "beads.jsonl", "bd.jsonl")
_LOCK_TIMEOUT_S = 30.0
_POLL_S = 0.02


def find_bead_file(path: Path) -> Path:
    """The bead file that a path means: itself, or the one in a directory or its `.beads`. Raises: NotFound."""
    if not path.is_dir():
        return path
    for directory in (path / ".beads", path):
        for place in (_redirected(directory), directory):
            for name in _NAMES:
                if (place / name).is_file():
                    return place / name
    raise NotFound(f"no bead file in {path}", hint="bd export -o .beads/issues.jsonl writes one", path=str(path))


def _redirected(directory: Path) -> Path:
    """The beads directory that a worktree redirects to."""
    try:
        target = (directory / "redirect").read_text("utf-8").strip()
    except (OSError, ValueError):
        return directory
    return (directory.parent / target) if target else directory


def read_file(path: Path, *, limit_bytes: int = LIMIT_BYTES) -> bytes | None:
    """The content of a file; None if it does not exist. Raises: UsageError if it is not a regular file, or too long."""
    try:
        # Without O_NONBLOCK, opening a pipe would wait for somebody to write into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UsageError(f"cannot read {path}: not a regular file", hint="name a file")
    with open(descriptor, "rb") as file:
        content = file.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise UsageError(f"cannot read {path}: longer than {limit_bytes:,} bytes")
    return content


def replace_file(path: Path, content: bytes, *, was: bytes | None, mode: int = 0o666) -> None:
    """Replace a file that contains `was` (None: that does not exist) atomically. A symbolic link is preserved.

    Raises: Refused if its content is not `was`; TinytownError if it cannot be written.
    """
    target = Path(os.path.realpath(path))
    draft = target.with_name(f".{target.name[:200]}.{uuid4().hex[:8]}")
    try:
        if was is not None and target.exists():
            mode = stat.S_IMODE(target.stat().st_mode)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        if was is not None:
            draft.chmod(mode)  # whatever the umask took away
        if read_file(target) != was:
            raise Refused(f"{path} was changed by another program", hint="try again", code="changed")
        os.replace(draft, target)
        sync_directory(target.parent)
    except OSError as error:
        raise TinytownError(
            f"cannot write {path}: {error.strerror or error}", hint="check the directory's owner, mode and free space"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def digest(content: bytes) -> str:
    """The hash by which a file's content is recognised."""
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def locked(path: Path) -> Generator[None]:
    """Hold the lock file at `path`: one command changes beads at a time.

    Raises: Refused with code ``busy`` if another command holds it for 30 s; TinytownError if it cannot be created.
    """
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise TinytownError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise Refused(
                        "another command is moving beads", hint="try again in a moment", code="busy"
                    ) from error
                time.sleep(_POLL_S)  # a blocking lock has no deadline
        yield
    finally:
        os.close(lock)
