"""git in the demo's own repository, independent of the user's git settings.

Several agents commit in one working tree at the same time: they take turns with a lock of their own, and retry while
another program (an editor, a `git status`) holds git's lock. Standard library only: the scripted agents import it.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tinytown.errors import TinytownError

_LOCK_TIMEOUT_S = 5.0
_LOCK_POLL_S = 0.05

#: Settings of the repository that override those of the user (signing, hooks, line ends).
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
    """The output of git in the repository at `root`. Retries for 5 s while git's lock is held.

    Raises: TinytownError with git's message if git is missing or fails.
    """
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
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
            raise TinytownError("git is not on the PATH", hint="install git") from error
        if done.returncode == 0:
            return done.stdout.decode(errors="replace")
        message_text = done.stderr.decode(errors="replace").strip()
        if "index.lock" not in message_text or time.monotonic() > deadline:
            raise TinytownError(f"git {words[0]} failed: {message_text or f'exit {done.returncode}'}")
        time.sleep(_LOCK_POLL_S)


def make_repository(root: Path) -> None:
    """An empty repository at `root`, with the branch main."""
    run_git(root, "-c", "init.defaultBranch=main", "init", "--quiet", "--template=")
    for name, value in _SETTINGS.items():
        run_git(root, "config", name, value)


def commit(root: Path, message: str, paths: Sequence[str], *, author: str | None = None) -> bool:
    """Commit these paths alone as `author` (default: the demo); whether there was something to commit."""
    with open(root / run_git(root, "rev-parse", "--git-path", "demo.lock").strip(), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run_git(root, "add", "--", *paths)
        if not run_git(root, "status", "--porcelain", "--", *paths):
            return False
        identity = ("-c", f"user.name={author}", "-c", f"user.email={author}@tinytown.invalid") if author else ()
        run_git(root, *identity, "commit", "--quiet", "--message", message, "--", *paths)
        return True


def commits(root: Path) -> list[tuple[str, str, str]]:
    """Short id, author and subject of every commit, newest first."""
    log = run_git(root, "log", "--topo-order", "--format=%h%x00%an%x00%s")
    rows = [line.split("\0") for line in log.splitlines()]
    return [(row[0], row[1], row[2]) for row in rows]


def uncommitted(root: Path) -> list[str]:
    """The paths that git reports as changed or untracked."""
    return [line[3:] for line in run_git(root, "status", "--porcelain").splitlines()]


def _environment() -> dict[str, str]:
    # Inside a git hook, GIT_* variables name the repository of the hook.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return inherited | {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0"}
