"""Files written whole or not at all, and synced when that matters. Knows nothing of their content."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file of the program's own, mode 0600, atomically; not synced. Raises: OSError."""
    with draft_of(path, content, 0o600, durable=False) as draft:
        os.replace(draft, path)


@contextmanager
def draft_of(path: Path, content: str | bytes, mode: int, *, durable: bool = True) -> Generator[Path]:
    """A temporary file beside `path` with the content, synced if `durable`; removed at the end unless renamed. Raises OSError."""
    draft = path.with_name(f".{path.name[:200]}.{os.urandom(4).hex()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(descriptor, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        yield draft
    finally:
        with suppress(OSError):
            draft.unlink()


def sync_directory(directory: Path) -> None:
    """Sync the names in `directory` to the disk, where the file system can. Blocks for some milliseconds."""
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
