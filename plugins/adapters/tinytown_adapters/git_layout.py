"""Where git keeps what a commit writes: a sandbox that opened the workspace alone would refuse every commit. Runs no git."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from tinytown_adapters.agent_files import read_agent_file


def git_directories(directory: Path) -> tuple[Path, ...]:
    """The directories outside of the work tree itself that git writes for a work tree at or above `directory`.

    One for a plain repository (``.git``); for a linked worktree the one that it shares and its own, which mostly is in it: a
    sandbox may protect it nevertheless. None outside of git. An agent may have written what is in the work tree, so that
    it counts only where the other side says the same: a link, or a file that names just any directory, gives none.
    """
    for work_dir in (directory, *directory.parents):
        entry = work_dir / ".git"
        if entry.is_symlink():
            return ()
        if (entry / "HEAD").is_file():
            return (entry,)
        if entry.is_file():
            with suppress(OSError, ValueError):
                return _named_by(entry)
            return ()
    return ()


def _named_by(entry: Path) -> tuple[Path, ...]:
    """The directories of a linked worktree or a submodule whose file ``.git`` is `entry`. Raises: OSError, ValueError.

    Source: gitrepository-layout(5), ``commondir`` and ``worktrees/<id>/gitdir``; gitsubmodules(7).
    """
    work_dir = entry.resolve().parent
    own = (work_dir / read_agent_file(entry).decode().removeprefix("gitdir:").strip()).resolve()
    if not (own / "HEAD").is_file():
        return ()
    if (own / "commondir").is_file():
        common = (own / read_agent_file(own / "commondir").decode().strip()).resolve()
        named = (own / read_agent_file(own / "gitdir").decode().strip()).resolve()
        belongs = own.parent == common / "worktrees" and named == work_dir / ".git"
        return (common, own) if belongs else ()
    return (own,) if any(own.is_relative_to(above / ".git" / "modules") for above in work_dir.parents) else ()
