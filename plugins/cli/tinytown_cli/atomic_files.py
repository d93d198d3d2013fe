"""Reading and writing the small text files that people and commands share: bounded, whole or not at all, locked.

What was written is on the disk, under its name, when the writing function returns. Knows nothing of what stands in them.
What a file should not be (a directory, a pipe, a device, a film) is an error before anything is read from it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Generator
from pathlib import Path

from tinytown.config import user_directory
from tinytown.errors import ConfigError, Refused, TinytownError
from tinytown.files import sync_directory
from tinytown.model.ids import new_id
from tinytown.model.text import shown

LIMIT_BYTES = 16 << 20

_LOCK_TIMEOUT_S = 3.0
_POLL_S = 0.02


def read_text_file(path: Path, *, limit_bytes: int = LIMIT_BYTES) -> str | None:
    """What stands in a file, line ends as they are; None if there is none.

    Raises: ConfigError for one that cannot be read, is no ordinary file, is longer than `limit_bytes`, or is not UTF-8.
    """
    raw = read_file(path, limit_bytes=limit_bytes)
    try:
        return raw if raw is None else raw.decode()
    except UnicodeDecodeError as error:
        raise _unreadable(path, f"it is not UTF-8 text (byte {error.start})") from error


def read_file(path: Path, *, limit_bytes: int = LIMIT_BYTES) -> bytes | None:
    """The bytes of a file, whatever they are; None if there is none. Raises: ConfigError, as `read_text_file` does."""
    try:
        # Without O_NONBLOCK, opening a pipe would wait for somebody to write into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise _unreadable(path, getattr(error, "strerror", None) or str(error)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _unreadable(path, "it is no ordinary file")
    with open(descriptor, "rb") as file:
        try:
            raw = file.read(limit_bytes + 1)
        except OSError as error:
            raise _unreadable(path, error.strerror or str(error)) from error
    if len(raw) > limit_bytes:
        raise _unreadable(path, f"it is longer than {limit_bytes:,} bytes")
    return raw


def _unreadable(path: Path, why: str) -> ConfigError:
    return ConfigError(f"cannot read {shown(str(path), 300)}: {why}", hint="name a text file", path=str(path))


def write_new_file(path: Path, text: str | bytes) -> None:
    """Write a file that must not exist, all at once: whoever looks sees nothing or the whole.

    Raises: Refused with code ``exists``; TinytownError if it cannot be written.
    """
    try:
        with _draft(path, text, 0o666) as draft:
            os.link(draft, path)
            sync_directory(path.parent)
    except FileExistsError as error:
        raise Refused(
            f"{path} is there already, and nothing is overwritten",
            hint="look at it, or name another file",
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
    """Put `text` into a file that held `was` (None: that was not there), all at once.

    `mode` is for a new file; one that is there keeps its own, but a `private` one is for its owner alone from now on. A
    symbolic link stays one: what it points to is written. Raises: Refused if somebody changed it meanwhile;
    TinytownError if it cannot be written.
    """
    target = Path(os.path.realpath(path))
    read = read_file if isinstance(was, bytes) else read_text_file
    if read(target, limit_bytes=limit_bytes) != was:
        raise Refused(f"{path} was changed by somebody else just now", hint="look at it, and try again")
    try:
        if was is not None:
            mode = stat.S_IMODE(target.stat().st_mode)
            if not os.access(target, os.W_OK):
                raise PermissionError(0, "it is write-protected")
        if private:
            mode = 0o600
        with _draft(target, text, mode) as draft:
            if was is not None:
                draft.chmod(mode)  # whatever the umask took away
            os.replace(draft, target)
            sync_directory(target.parent)
    except OSError as error:
        raise _unwritable(path, error) from error


@contextlib.contextmanager
def _draft(path: Path, text: str | bytes, mode: int) -> Generator[Path]:
    """The text in a file beside `path`, on disk, gone afterwards."""
    draft = path.with_name(f".{path.name[:200]}.{new_id()[:8]}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(descriptor, "wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def _unwritable(path: Path, error: OSError) -> TinytownError:
    return TinytownError(
        f"cannot write {path}: {error.strerror or error}", hint="check the directory's owner, mode and free space"
    )


@contextlib.contextmanager
def locked(path: Path) -> Generator[None]:
    """Hold the lock file at `path`, so that of several commands one changes things at a time.

    Raises: TinytownError if somebody holds it for long, or it cannot be made.
    """
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
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
                    raise TinytownError(f"another command holds {path}", hint="try again in a moment") from error
                time.sleep(_POLL_S)  # a blocking lock has no deadline
            except OSError as error:
                raise _unwritable(path, error) from error
        yield
    finally:
        os.close(lock)


def make_user_directory() -> None:
    """Make a person's own directory, ``~/.tt``, for them alone. Raises: TinytownError if it cannot be made."""
    directory = user_directory()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(directory, error) from error
