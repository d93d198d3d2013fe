"""The git repository and branch of a directory, read from git's files without starting a process.

Source: gitrepository-layout(5): ``.git`` is a directory, or, in a worktree, a file that says ``gitdir: <path>``; its
``HEAD`` holds ``ref: refs/heads/<branch>`` or a commit.
"""

from __future__ import annotations

from pathlib import Path


def repository_root(directory: Path) -> Path | None:
    """The top directory of the working tree that `directory` is in."""
    return next((path for path in (directory, *directory.parents) if (path / ".git").exists()), None)


def branch(root: Path) -> str | None:
    """The branch checked out in the working tree at `root`; None for a detached HEAD or an unreadable file."""
    git = root / ".git"
    try:
        if git.is_file():
            git = root / git.read_text().removeprefix("gitdir:").strip()
        head = (git / "HEAD").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return head.removeprefix("ref: refs/heads/") if head.startswith("ref: refs/heads/") else None


def town_words(directory: Path) -> str:
    """A name for a town in `directory`, before it is normalized: the repository and branch, else the directory."""
    root = repository_root(directory)
    if root is None:
        return directory.name
    return "-".join(part for part in (root.name, branch(root)) if part)
