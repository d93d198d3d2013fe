"""The data directory of an embedded server: whether it can hold one, and the lock that keeps it to one.

A user who can enter it can reach the server's socket and so control the town: it is private to this user, or refused.
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

SOCKET_NAME = "redis.sock"
#: What fits in ``sockaddr_un.sun_path`` beside the closing zero byte.
SOCKET_PATH_LIMIT_BYTES = 107 if sys.platform == "linux" else 103


def socket_path_of(directory: Path) -> Path:
    """The path of the socket in `directory`: its own, or, if that is too long for a socket, one through a link to `directory`."""
    path = directory / SOCKET_NAME
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT_BYTES:
        return path
    from hashlib import blake2b  # late: most paths are short

    return _links() / blake2b(os.fsencode(directory), digest_size=8).hexdigest() / SOCKET_NAME


def make_reachable(directory: Path) -> None:
    """Make the link that `socket_path_of` goes through, if there is to be one.

    Raises: ServerUnreachable, as `claim`, for the directory of such links.
    """
    link = socket_path_of(directory).parent
    if link == directory:
        return
    claim(link.parent, create=True)
    if not (link.is_symlink() and os.readlink(link) == str(directory)):
        draft = link.with_name(f"{link.name}.{os.getpid()}")
        draft.symlink_to(directory)
        draft.replace(link)


def remove_link(directory: Path) -> None:
    """Remove the link that `make_reachable` made."""
    link = socket_path_of(directory).parent
    if link != directory:
        link.unlink(missing_ok=True)


def _links() -> Path:
    """A short path, the same for every process of this user; TMPDIR differs between them."""
    return Path(f"/tmp/tinytown-{os.geteuid()}")


def claim(directory: Path, *, create: bool) -> None:
    """Make `directory` one that only this user can enter. Without `create`, one that is absent stays absent.

    Raises: ServerUnreachable with code ``foreign_directory`` (another user's) or ``directory_not_writable`` (a file
    is in its place, its parent is missing or read-only), field ``path``.
    """
    try:
        if create:
            with contextlib.suppress(FileExistsError):
                directory.mkdir(mode=0o700)
        status = directory.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise not_writable(directory, os.strerror(errno.ENOTDIR))
        if status.st_uid != os.geteuid():
            raise ServerUnreachable(
                f"expected {directory} to belong to user {os.geteuid()}, it belongs to user {status.st_uid}",
                hint="run as its owner, or use a town of your own",
                code="foreign_directory",
                path=str(directory),
            )
        if status.st_mode & 0o077:
            directory.chmod(0o700)
    except FileNotFoundError as error:
        if create:
            raise not_writable(directory, f"{directory.parent} does not exist") from error
    except OSError as error:
        raise not_writable(directory, error.strerror or str(error)) from error


def sync_names(directory: Path) -> None:
    """Sync `directory` itself, and the names of the files that a new server has made in it.

    The server syncs its files and the directory that they are in, but not the directories above.
    """
    sync_directory(directory)
    sync_directory(directory.parent)


def not_writable(directory: Path, why: str) -> ServerUnreachable:
    """The error for a `directory` that cannot hold a server's files."""
    return ServerUnreachable(
        f"the server cannot write to its data directory {directory}: {why}",
        hint="make it writable, put the town elsewhere, or set redis.url to a server that runs elsewhere",
        code="directory_not_writable",
        path=str(directory),
    )


def take_lock(directory: Path) -> int | None:
    """An open file that holds the lock of `directory`; None at once if another process holds it.

    The server inherits the file and keeps it for life, so the lock is held exactly as long as a server runs or is being
    started: a starter that is killed leaves either no server or one that holds the lock. Two servers would corrupt
    the data that they share. Renaming the directory changes nothing; a copy of it has a lock of its own.

    Raises: ServerUnreachable with code ``directory_not_writable``.
    """
    try:
        lock = os.open(directory / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise not_writable(directory, error.strerror or str(error)) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    except OSError as error:
        os.close(lock)
        raise not_writable(directory, f"it does not support locks: {error.strerror}") from error
    return lock
