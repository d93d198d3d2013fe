"""Reading files that an agent may have made: neither a link is followed, nor a pipe waited for, nor more read than expected."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

_SAFELY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def read_agent_file(path: Path, limit_bytes: int = 64 * 1024, *, below: Path | None = None) -> bytes:
    """The content of a regular file. Raises: OSError for anything else and for more than `limit_bytes`.

    With `below`, a directory that the path is in, nothing on the way from there may be a link either.
    """
    with open_agent_file(path, below=below) as file:
        content = file.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise OSError(f"{path} has more than {limit_bytes:,} bytes")
    return content


def open_agent_file(path: Path, *, below: Path | None = None) -> BinaryIO:
    """A regular file, to be read; see `read_agent_file`. Raises: OSError for anything else."""
    descriptor = os.open(path, _SAFELY) if below is None else _open_below(below, path.relative_to(below).parts)
    file = open(descriptor, "rb")  # noqa: SIM115 - it is the answer
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise OSError(f"{path} is not a regular file")
    return file


def _open_below(directory: Path, parts: Sequence[str]) -> int:
    """A descriptor of what the parts lead to from a directory, none of them through a link."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in parts:
        try:
            following = os.open(part, _SAFELY, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = following
    return descriptor
