"""A file of events, one JSON object a line, that is whole again after any crash. Blocking; knows nothing of trio.

Events may come twice, so the file's own end says what it has: ids of events only grow, and one that does not come after
the last line's is not written again. A line that a crash has torn is cut off; its event comes again.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from tinytown.errors import TinytownError
from tinytown.files import sync_directory
from tinytown.model.events import Event, event_fields

Position = tuple[int, int]


class _Line(msgspec.Struct):
    id: str


_decode_line = msgspec.json.Decoder(_Line).decode


class JournalFile:
    """The journal at `path` and, as ``path.1`` to ``path.<keep>``, its predecessors, the youngest first.

    A new file is begun before a batch that would take this one beyond `max_bytes`. New files have mode 0600; a
    symbolic link in the place of the file is refused. All methods raise TinytownError when the disk does not do it.
    """

    def __init__(self, path: Path, *, max_bytes: int, keep: int, fsync: bool) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._fsync = fsync
        self._fd = -1
        self._last: Position = (-1, -1)

    def open(self) -> None:
        """Create the file if it is missing, repair its end, and find the last event in it."""
        with self._explained():
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._open()
            last, whole_bytes = _read_end(self._fd)
            _repair_end(self._fd, whole_bytes)
            self._last = last or self._last_before() or (-1, -1)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def append(self, events: Sequence[Event]) -> None:
        """Write those of `events` that the journal does not have yet: all of them, or none when this raises."""
        last, lines = self._last, list[bytes]()
        for event in events:
            position = _position(event.id)
            if position is not None:
                if position <= last:
                    continue
                last = position
            lines.append(msgspec.json.encode(event_fields(event)) + b"\n")
        if lines:
            with self._explained():
                self._write(b"".join(lines))
        self._last = last

    def _write(self, block: bytes) -> None:
        if not self._is_in_place():
            self.close()
            self._open()
        size_bytes = os.fstat(self._fd).st_size
        if self._max_bytes and size_bytes and size_bytes + len(block) > self._max_bytes:
            self._rotate()
            size_bytes = 0
        unwritten = memoryview(block)
        try:
            while unwritten:
                unwritten = unwritten[os.write(self._fd, unwritten) :]
            if self._fsync:
                os.fsync(self._fd)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._fd, size_bytes)
            raise

    def _open(self) -> None:
        # O_NONBLOCK: opening a FIFO must not wait for its reader. It means nothing for a regular file.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o600)
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            self.close()
            raise OSError(errno.EINVAL, "it is no regular file")
        if self._fsync:
            sync_directory(self._path.parent)

    def _is_in_place(self) -> bool:
        """The file was not moved away, as log rotation does."""
        if self._fd < 0:
            return False
        try:
            return os.path.samestat(os.lstat(self._path), os.fstat(self._fd))
        except FileNotFoundError:
            return False

    def _rotate(self) -> None:
        self.close()
        for number in range(self._keep, 0, -1):
            with suppress(FileNotFoundError):
                os.replace(self._numbered(number - 1), self._numbered(number))
        if not self._keep:
            self._path.unlink()
        self._open()

    def _last_before(self) -> Position | None:
        """The last position in the file before this one: a crash may have come right after the change."""
        try:
            fd = os.open(self._numbered(1), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return _read_end(fd)[0]
        finally:
            os.close(fd)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path

    @contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
            raise TinytownError(
                f"cannot write the journal {self._path}: {reason}",
                hint="make room or permit it there, or set path in [plugins.journal]",
                code="journal_not_writable",
                path=str(self._path),
            ) from error


def _read_end(fd: int) -> tuple[Position | None, int]:
    """The position of a file's last event, None if there is none, and how many of its bytes are whole lines."""
    size_bytes = os.fstat(fd).st_size
    if not size_bytes:
        return None, 0
    with mmap.mmap(fd, size_bytes, access=mmap.ACCESS_READ) as content:
        whole_bytes = end = content.rfind(b"\n") + 1
        last: Position | None = None
        while end and last is None:
            start = content.rfind(b"\n", 0, end - 1) + 1
            with suppress(msgspec.DecodeError):
                last = _position(_decode_line(content[start:end]).id)
            end = start
        return last, whole_bytes


def _repair_end(fd: int, whole_bytes: int) -> None:
    """Cut a torn line off the end of a file that is open for appending."""
    if whole_bytes == os.fstat(fd).st_size:
        return
    if os.pread(fd, 1, whole_bytes) in (b"{", b"\0"):  # NULs are what a machine that lost power leaves
        os.ftruncate(fd, whole_bytes)
    else:
        os.write(fd, b"\n")  # written by another program: not ours to cut


def _position(event_id: str) -> Position | None:
    """An event's id as something that grows; None for one of another form, which cannot be compared."""
    try:
        ms, sequence = event_id.split("-")
        return int(ms), int(sequence)
    except ValueError:
        return None
