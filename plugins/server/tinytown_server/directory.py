"""The directory an embedded server lives in: whether it can hold one, and the lock that lets it hold no more than one.

Whoever can enter it can reach the server's socket and so rules the town: it is ours alone, or it is refused.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import sys
from pathlib import Path

from tinytown.errors import ServerUnreachable
from tinytown.files import sync_directory

#: What fits in ``sockaddr_un.sun_path`` beside the closing zero byte.
SOCKET_PATH_LIMIT_BYTES = 107 if sys.platform == "linux" else 103


def refuse_long(socket_path: Path) -> None:
    """Raises: ServerUnreachable with code ``socket_path_too_long``, fields ``size_bytes`` and ``limit_bytes``."""
    size_bytes = len(os.fsencode(socket_path))
    if size_bytes > SOCKET_PATH_LIMIT_BYTES:
        raise ServerUnreachable(
            f"a socket's path may have {SOCKET_PATH_LIMIT_BYTES} bytes here, {socket_path} has {size_bytes}",
            hint="move the town to a directory with a shorter path, or set redis.url to a server of your own",
            code="socket_path_too_long",
            size_bytes=size_bytes,
            limit_bytes=SOCKET_PATH_LIMIT_BYTES,
        )


def claim(home: Path, *, create: bool) -> None:
    """Make `home` a directory that only we can enter. Without `create`, one that is absent stays absent.

    Raises: ServerUnreachable with code ``foreign_directory`` (another user's) or ``directory_not_writable`` (a file
    is in its place, its parent is missing or read-only), field ``path``.
    """
    try:
        if create:
            with contextlib.suppress(FileExistsError):
                home.mkdir(mode=0o700)
        status = home.stat()
        if not stat.S_ISDIR(status.st_mode):
            raise not_writable(home, os.strerror(errno.ENOTDIR))
        if status.st_uid != os.geteuid():
            raise ServerUnreachable(
                f"expected {home} to belong to user {os.geteuid()}, it belongs to user {status.st_uid}",
                hint="run as its owner, or use a town of your own",
                code="foreign_directory",
                path=str(home),
            )
        if status.st_mode & 0o077:
            home.chmod(0o700)
    except FileNotFoundError as error:
        if create:
            raise not_writable(home, f"{home.parent} does not exist") from error
    except OSError as error:
        raise not_writable(home, error.strerror or str(error)) from error


def settle(home: Path) -> None:
    """Have `home` itself, and the names of the files that a new server has made in it, on the disk.

    The server syncs its files and the directory that they are in, and leaves the directories above to others.
    """
    sync_directory(home)
    sync_directory(home.parent)


def not_writable(home: Path, why: str) -> ServerUnreachable:
    """The error for a `home` that cannot hold a server's files."""
    return ServerUnreachable(
        f"the server needs a directory that it can write to, {home} is none: {why}",
        hint="make it writable, put the town elsewhere, or set redis.url to a server that runs elsewhere",
        code="directory_not_writable",
        path=str(home),
    )


def take_lock(home: Path) -> int | None:
    """An open file that holds the lock of `home`; None at once if somebody else holds it.

    The server inherits the file and keeps it for life, so the lock is held exactly as long as a server runs or is being
    started: a starter killed half-way leaves either no server or one that holds the lock. Two servers would ruin
    the data they share. Renaming the directory changes nothing; a copy of it has a lock of its own.

    Raises: ServerUnreachable with code ``directory_not_writable``.
    """
    try:
        lock = os.open(home / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise not_writable(home, error.strerror or str(error)) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    except OSError as error:
        os.close(lock)
        raise not_writable(home, f"it does not support locks: {error.strerror}") from error
    return lock
