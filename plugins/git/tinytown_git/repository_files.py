"""Whether there is a repository, as far as files tell. Imports little: hooks ask it."""

from __future__ import annotations

from pathlib import Path


def has_repository(root: Path) -> bool:
    """Whether `root` is in a git repository, as far as files tell."""
    if (root / "HEAD").is_file() and (root / "objects").is_dir():
        return True
    return any((place / ".git").exists() for place in (root, *root.parents))
