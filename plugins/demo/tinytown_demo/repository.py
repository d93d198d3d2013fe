"""git in the demo's own repository: nothing of the person's git settings counts, and nobody trips over a lock.

Several agents commit in one working tree at the same time; they take turns by a lock of their own, and wait when
somebody else (an editor, a person's `git status`) holds git's. Standard library only: the scripted agents import it.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tinytown.errors import TinytownError

_LOCK_PATIENCE_S = 5.0
_LOCK_POLL_S = 0.05

#: Settings of the repository itself, where a person's own could get in the way (signing, hooks, line ends).
_SETTINGS = {
    "user.name": "tt demo",
    "user.email": "demo@tinytown.invalid",
    "commit.gpgsign": "false",
    "core.hooksPath": ".git/hooks",
    "core.autocrlf": "false",
    "core.quotePath": "false",
    "gc.auto": "0",
}


def run_git(root: Path, *words: str) -> str:
    """What git answers in the repository at `root`. Waits for git's lock for a while.

    Raises: TinytownError when git is missing or fails, with what it said.
    """
    deadline = time.monotonic() + _LOCK_PATIENCE_S
    while True:
        try:
            done = subprocess.run(
                ["git", *words],
                cwd=root,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
        except FileNotFoundError as error:
            raise TinytownError("expected git on the PATH, found none", hint="install git") from error
        if done.returncode == 0:
            return done.stdout.decode(errors="replace")
        said = done.stderr.decode(errors="replace").strip()
        if "index.lock" not in said or time.monotonic() > deadline:
            raise TinytownError(f"git {words[0]} failed: {said or f'exit {done.returncode}'}")
        time.sleep(_LOCK_POLL_S)


def make_repository(root: Path) -> None:
    """An empty repository at `root`, with the branch main."""
    run_git(root, "-c", "init.defaultBranch=main", "init", "--quiet", "--template=")
    for name, value in _SETTINGS.items():
        run_git(root, "config", name, value)


def commit(root: Path, message: str, paths: Sequence[str], *, author: str | None = None) -> bool:
    """Commit these paths, and nothing else, as `author` (default: the demo); whether there was something to commit."""
    with open(root / run_git(root, "rev-parse", "--git-path", "turn.lock").strip(), "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        run_git(root, "add", "--", *paths)
        if not run_git(root, "status", "--porcelain", "--", *paths):
            return False
        identity = ("-c", f"user.name={author}", "-c", f"user.email={author}@tinytown.invalid") if author else ()
        run_git(root, *identity, "commit", "--quiet", "--message", message, "--", *paths)
        return True


def commits(root: Path) -> list[tuple[str, str, str]]:
    """Short id, author and subject of every commit, newest first."""
    log = run_git(root, "log", "--format=%h%x00%an%x00%s")
    rows = [line.split("\0") for line in log.splitlines()]
    return [(row[0], row[1], row[2]) for row in rows]


def uncommitted(root: Path) -> list[str]:
    """The paths that git calls changed or unknown."""
    return [line[3:] for line in run_git(root, "status", "--porcelain").splitlines()]


def _environment() -> dict[str, str]:
    # A demo that runs inside a git hook would otherwise work on the repository of the hook.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return inherited | {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0"}
