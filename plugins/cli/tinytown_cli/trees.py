"""Directories that an agent has filled, as deep as it liked: Python's own ways through them end at some hundred levels."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def remove_tree(directory: Path, onerror: Callable[..., object] | None = None) -> None:
    """Remove a directory with all that is in it, however deep that is. `onerror` is that of `shutil.rmtree`.

    Blocking. Raises: OSError, FileNotFoundError if there is none.
    """
    directory.lstat()
    with suppress(OSError, RecursionError):  # it recurses, and holds a descriptor open for each level
        shutil.rmtree(directory, onerror=onerror)
    if os.path.lexists(directory):
        ended = subprocess.run(["rm", "-rf", "--", directory.absolute()], capture_output=True, text=True, check=False)
        if ended.returncode:
            raise OSError(errno.ENOTEMPTY, ended.stderr.strip(), str(directory))


def last_change(directory: Path) -> float:
    """When a file or directory in it was last written, in seconds since 1970. Links are not followed."""
    latest, pending = directory.lstat().st_mtime, [directory]
    while pending:
        with suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                latest = max(latest, entry.stat(follow_symlinks=False).st_mtime)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(Path(entry.path))
    return latest
