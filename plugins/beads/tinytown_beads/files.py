"""Bead files on disk: found, read within bounds, replaced atomically. Knows nothing of their content."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tinytown.errors import NotFound
from tinytown_cli import text_files

LIMIT_BYTES = 1 << 30
#: How long a command waits for another one that changes beads.
LOCK_TIMEOUT_S = 30.0

#: Where a directory may have its beads: the names of today, then those of old programs.
_NAMES = ("issues.jsonl", "beads.jsonl", "bd.jsonl")


def find_bead_file(path: Path) -> Path:
    """The bead file that a path means: itself, or the one in a directory or its `.beads`. Raises: NotFound."""
    if not path.is_dir():
        return path
    for directory in (path / ".beads", path):
        for place in (_redirected(directory), directory):
            for name in _NAMES:
                if (place / name).is_file():
                    return place / name
    raise NotFound(f"no bead file in {path}", hint="bd export -o .beads/issues.jsonl writes one", path=str(path))


def _redirected(directory: Path) -> Path:
    """The beads directory that a worktree redirects to."""
    try:
        target = (directory / "redirect").read_text("utf-8").strip()
    except (OSError, ValueError):
        return directory
    return (directory.parent / target) if target else directory


def read_file(path: Path, *, limit_bytes: int = LIMIT_BYTES) -> bytes | None:
    """The bytes of a file; None if there is none. Raises: ConfigError if it is not a regular file, or too long."""
    return text_files.read_file(path, limit_bytes=limit_bytes)


def replace_file(path: Path, content: bytes, *, was: bytes | None, mode: int = 0o666) -> None:
    """Replace a file that contains `was` (None: that does not exist) atomically, see `replace_text_file`."""
    text_files.replace_text_file(path, content, was=was, mode=mode, limit_bytes=LIMIT_BYTES)


def digest(content: bytes) -> str:
    """The hash by which a file's content is recognised."""
    return hashlib.sha256(content).hexdigest()
