"""Reading files that an agent may have made: neither a link is followed, nor a pipe waited for, nor more read than expected."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_agent_file(path: Path, limit_bytes: int = 64 * 1024) -> bytes:
    """The content of a regular file. Raises: OSError for anything else and for more than `limit_bytes`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not a regular file")
        content = file.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise OSError(f"{path} has more than {limit_bytes:,} bytes")
    return content
