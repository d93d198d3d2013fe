"""Where git keeps what a commit writes: a sandbox that opened the workspace alone would refuse every commit. Runs no git."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def git_directories(directory: Path) -> tuple[Path, ...]:
    """The directories outside of the work tree itself that git writes for a work tree at or above `directory`.

    One for a plain repository (``.git``); for a linked worktree the one that it shares and its own, which mostly lies in it: a
    sandbox may protect it nevertheless. None outside of git.
    """
    for work_dir in (directory, *directory.parents):
        entry = work_dir / ".git"
        if (entry / "HEAD").is_file():
            return (entry,)
        if entry.is_file():
            with suppress(OSError, ValueError):
                own = (work_dir / entry.read_text().removeprefix("gitdir:").strip()).resolve()
                shared = own / "commondir"
                common = (own / shared.read_text().strip()).resolve() if shared.is_file() else own
                return (own,) if common == own else (common, own)
            return ()
    return ()
