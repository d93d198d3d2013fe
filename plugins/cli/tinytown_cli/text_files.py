"""Text files that people and commands share: read within a bound, written whole or not at all, locked.

What a durable function wrote is on the disk, under its name, when it returns. Anything but a regular file is refused
before it is read. Knows nothing of the content.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tinytown.config import user_directory
from tinytown.errors import ConfigError, Refused, TinytownError
from tinytown.files import draft_of, sync_directory
from tinytown.model.text import shown

LIMIT_BYTES = 16 << 20

_POLL_S = 0.02


def read_text_file(path: Path, *, limit_bytes: int = LIMIT_BYTES) -> str | None:
    """The text of a file with its line ends unchanged; None if there is none.

    Raises: ConfigError for one that cannot be read, is not a regular file, is longer than `limit_bytes`, or is not UTF-8.
    """
    raw = read_file(path, limit_bytes=limit_bytes)
    try:
        return raw if raw is None else raw.decode()
    except UnicodeDecodeError as error:
        raise _unreadable(path, f"it is not UTF-8 text (byte {error.start})") from error


def read_file(path: Path, *, limit_bytes: int = LIMIT_BYTES) -> bytes | None:
    """The bytes of a file; None if there is none. Raises: ConfigError, as `read_text_file` does."""
    try:
        # Without O_NONBLOCK, opening a pipe waits for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise _unreadable(path, getattr(error, "strerror", None) or str(error)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _unreadable(path, "it is not a regular file")
    with open(descriptor, "rb") as file:
        try:
            raw = file.read(limit_bytes + 1)
        except OSError as error:
            raise _unreadable(path, error.strerror or str(error)) from error
    if len(raw) > limit_bytes:
        raise _unreadable(path, f"it is longer than {limit_bytes:,} bytes")
    return raw


def _unreadable(path: Path, why: str) -> ConfigError:
    return ConfigError(f"cannot read {shown(str(path), 300)}: {why}", hint="name a regular text file", path=str(path))


def write_new_file(path: Path, text: str | bytes) -> None:
    """Write a file that must not exist, atomically.

    Raises: Refused with code ``exists``; TinytownError if it cannot be written.
    """
    try:
        with draft_of(path, text, 0o666) as draft:
            os.link(draft, path)
            sync_directory(path.parent)
    except FileExistsError as error:
        raise Refused(
            f"{path} already exists and is not overwritten",
            hint="remove it, or name another file",
            code="exists",
        ) from error
    except OSError as error:
        raise _unwritable(path, error) from error


def replace_text_file(
    path: Path,
    text: str | bytes,
    *,
    was: str | bytes | None,
    mode: int = 0o666,
    private: bool = False,
    limit_bytes: int = LIMIT_BYTES,
) -> None:
    """Put `text` into a file that held `was` (None: it did not exist), atomically.

    `mode` is for a new file; an existing one keeps its own, but a `private` one becomes readable by its owner only. A
    symbolic link stays: its target is written. Raises: Refused with code ``changed`` if the file changed
    meanwhile; TinytownError if it cannot be written.
    """
    target = Path(os.path.realpath(path))
    read = read_file if isinstance(was, bytes) else read_text_file
    try:
        if was is not None:
            mode = stat.S_IMODE(target.stat().st_mode)
            if not os.access(target, os.W_OK):
                raise PermissionError(0, "the file is write-protected")
        if private:
            mode = 0o600
        with draft_of(target, text, mode) as draft:
            if was is not None:
                draft.chmod(mode)  # despite the umask
            if read(target, limit_bytes=limit_bytes) != was:
                raise Refused(
                    f"{path} changed while it was being edited", hint="check it, then try again", code="changed"
                )
            os.replace(draft, target)
            sync_directory(target.parent)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> TinytownError:
    return TinytownError(
        f"cannot write {path}: {error.strerror or error}", hint="check the owner, mode and free space of its directory"
    )


@contextmanager
def locked(path: Path, *, timeout_s: float = 3.0) -> Generator[None]:
    """Hold the lock file at `path`: one command at a time.

    Raises: Refused with code ``busy`` if another process holds it for `timeout_s`; TinytownError if it cannot be created.
    """
    deadline = time.monotonic() + timeout_s
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise Refused(
                        f"another command holds the lock {path}", hint="try again in a moment", code="busy"
                    ) from error
                time.sleep(_POLL_S)  # a blocking lock has no deadline
            except OSError as error:
                raise _unwritable(path, error) from error
        yield
    finally:
        os.close(lock)


def make_user_directory() -> None:
    """Create the user's directory, ``~/.config/tinytown``, with mode 0700. Raises: TinytownError if it cannot be created."""
    directory = user_directory()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(directory, error) from error
