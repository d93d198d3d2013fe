"""What has to be on the disk before somebody is told that it is there: here, the names in a directory.

A file's own content is synced by whoever writes it. After a loss of power a new name, or one that was moved onto
another, may be gone all the same unless its directory was synced too. Knows nothing of towns.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def sync_directory(directory: Path) -> None:
    """Have the names in `directory` on the disk. Blocks for some milliseconds; a file system that cannot do it does not."""
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
