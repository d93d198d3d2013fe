"""Real repositories for the tests, and an independent look at them: with git itself, by no code of the plugin."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from tinytown.contracts import Round
from tinytown_git.repository import Repository, find_repository
from tinytown_git.worktrees import Worktrees

DEADLINE_S = 60


def spawn(*command: str, cwd: Path, pipes: bool = False) -> subprocess.Popen[bytes]:
    """A command that is started and left to the test."""
    pipe = subprocess.PIPE if pipes else None
    return subprocess.Popen(command, cwd=cwd, stdin=pipe, stdout=pipe, start_new_session=True)


def run_in_round(script: str, round_: Round) -> str:
    """What a shell script prints that an agent runs in its round."""
    done = subprocess.run(
        ["sh", "-ec", script], cwd=round_.directory, env=round_.environment, capture_output=True, timeout=DEADLINE_S
    )
    assert done.returncode == 0, os.fsdecode(done.stderr)
    return os.fsdecode(done.stdout)


async def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds that nothing announces."""
    with trio.fail_after(DEADLINE_S):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.02)


@dataclass
class Project:
    """A person's repository at `root`, with a directory `state` beside it for worktrees."""

    root: Path
    state: Path

    def git(self, *arguments: str, cwd: Path | None = None, check: bool = True) -> str:
        """What git prints, run as a person would."""
        return self.sh("git", *arguments, cwd=cwd, check=check)

    def sh(self, *command: str, cwd: Path | None = None, check: bool = True) -> str:
        done = subprocess.run(
            command, cwd=cwd or self.root, capture_output=True, timeout=DEADLINE_S, stdin=subprocess.DEVNULL
        )
        assert not check or done.returncode == 0, f"{command}: {os.fsdecode(done.stdout + done.stderr)}"
        return os.fsdecode(done.stdout).rstrip("\n")

    def commit(self, files: dict[str, str], message: str = "work", *, cwd: Path | None = None) -> str:
        """Write files and commit everything; the commit."""
        for name, text in files.items():
            path = (cwd or self.root) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "-A", cwd=cwd)
        self.git("commit", "-q", "--allow-empty", "-m", message, cwd=cwd)
        return self.git("rev-parse", "HEAD", cwd=cwd)

    def locks(self) -> list[str]:
        """Locks that block somebody. Those that do not are removed by housekeeping: of a rescue ref, whose name is never used
        again, and of an agent's own maintenance."""
        git_dir = self.root / ".git"
        found = [str(lock.relative_to(git_dir)) for lock in git_dir.rglob("*.lock")]
        return [name for name in found if not name.startswith("refs/tinytown/") and name != "objects/maintenance.lock"]

    def look(self) -> tuple[str, ...]:
        """All that must not change of the person's checkout: HEAD, index, files, stash, branch."""
        return (
            self.git("rev-parse", "HEAD", check=False),
            self.git("symbolic-ref", "-q", "HEAD", check=False),
            self.git("ls-files", "--stage"),
            self.git("status", "--porcelain", "--ignored", "-z"),
            self.git("stash", "list"),
        )

    def named_commits(self) -> set[str]:
        """Every commit that a ref leads to."""
        refs = self.git("for-each-ref", "--format=%(refname)").splitlines()
        return set(self.git("rev-list", *refs).split()) if refs else set()

    async def repository(self) -> Repository:
        return await find_repository(self.root)

    async def worktrees(self) -> Worktrees:
        return Worktrees(await self.repository(), self.state)


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A repository with one commit on ``main``."""
    base = Path(tempfile.mkdtemp(prefix="tt-git-", dir="/tmp")).resolve()
    home = base / "home"
    (base / "project").mkdir()
    home.mkdir()
    (home / ".gitconfig").write_text("[user]\nname = Ann\nemail = ann@example.org\n[init]\ndefaultBranch = main\n")
    monkeypatch.setenv("HOME", str(home))
    for name in [name for name in os.environ if name.startswith(("GIT_", "XDG_CONFIG"))]:
        monkeypatch.delenv(name)
    project = Project(base / "project", base / "worktrees")
    project.git("init", "-q")
    project.commit({"README": "hello\n", ".gitignore": "*.log\n"}, "first")
    try:
        yield project
    finally:
        subprocess.run(["/bin/chmod", "-R", "u+rwX", str(base)], timeout=DEADLINE_S, check=False)
        shutil.rmtree(base)
