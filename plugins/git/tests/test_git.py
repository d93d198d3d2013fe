"""How git is run: what it does not obey, its errors, and locks that somebody left behind."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import trio
from tinytown_git.git import Git, GitFailed, git_version, remove_stale_lock
from tinytown_git.repository import ABSENT

from .conftest import DEADLINE_S, Project, spawn


def age(path: Path, seconds: float = 3600) -> None:
    past = time.time() - seconds
    os.utime(path, (past, past))


async def test_variables_of_the_environment_do_not_lead_git_elsewhere(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "alias.status")
    repository = await project.repository()
    assert await repository.head_branch() == "refs/heads/main"
    assert await repository.git_at(project.root)("status", "--porcelain")


async def test_hooks_and_monitors_of_the_repository_are_not_run(project: Project) -> None:
    hook = project.root / ".git" / "hooks" / "reference-transaction"
    hook.write_text("#!/bin/sh\ntouch $GIT_DIR/hook-ran\nexit 1\n")
    hook.chmod(0o755)
    own = project.root / "own-hooks"
    own.mkdir()
    os.link(hook, own / hook.name)
    for key, value in {"core.hooksPath": str(own), "core.fsmonitor": f"{hook} monitor"}.items():
        project.git("config", key, value)
    repository = await project.repository()
    head = await repository.head_commit()
    assert head is not None
    assert await repository.set_ref("refs/heads/other", head, ABSENT, reason="a test")
    await repository.git_at(project.root)("status")
    assert not list(project.root.rglob("hook-ran"))


@pytest.mark.parametrize("name", ["packed-refs", "FETCH_HEAD", "logs/HEAD", "logs/refs/heads/main"])
async def test_a_link_that_git_would_write_through_is_refused(project: Project, tmp_path: Path, name: str) -> None:
    repository = await project.repository()
    head = await repository.head_commit()
    assert head is not None
    link = project.root / ".git" / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(tmp_path / "profile")
    with pytest.raises(GitFailed, match="is a link, through which git would write to"):
        await repository.set_ref("refs/heads/other", head, ABSENT, reason="a test")
    assert not (tmp_path / "profile").exists()
    link.unlink()
    (project.root / ".git" / "rr-cache").symlink_to(tmp_path)
    assert await repository.set_ref("refs/heads/other", head, ABSENT, reason="a test")


async def test_an_error_says_what_git_said_and_what_to_do(project: Project) -> None:
    with pytest.raises(GitFailed, match="git cat-file: fatal: Not a valid object name") as caught:
        await Git(project.root / ".git")("cat-file", "-p", "nothing", variables={"LC_ALL": "C"})
    assert caught.value.status == 128
    with pytest.raises(GitFailed) as caught:
        await Git(project.root / "nowhere")("rev-parse", "HEAD")
    assert caught.value.message


async def test_a_command_that_does_not_end_is_ended(project: Project) -> None:
    project.git("config", "alias.hang", "!echo $$ > pid; exec sleep 600")
    with pytest.raises(GitFailed, match="did not end within"):
        await Git(project.root / ".git")("hang", timeout_s=2)
    (written,) = project.root.rglob("pid")
    assert not Path("/proc", written.read_text().strip()).exists()  # what git had started has ended too


async def test_a_missing_git_is_an_error_with_a_reason(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = await project.repository()
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(GitFailed, match="cannot be run"):
        await repository.git("rev-parse", "HEAD")
    assert git_version() is None


async def test_a_lock_of_a_git_that_was_killed_does_not_block(project: Project) -> None:
    lock = project.root / ".git" / "refs" / "heads" / "other.lock"
    lock.touch()
    age(lock)
    repository = await project.repository()
    head = await repository.head_commit()
    assert head is not None
    with trio.fail_after(DEADLINE_S):
        assert await repository.set_ref("refs/heads/other", head, ABSENT, reason="a test")
    assert not lock.exists()


async def test_a_lock_in_use_is_waited_for(project: Project) -> None:
    repository = await project.repository()
    head = await repository.head_commit()
    assert head is not None
    holding = spawn("git", "update-ref", "--stdin", cwd=project.root, pipes=True)
    assert holding.stdin is not None
    assert holding.stdout is not None
    try:
        holding.stdin.write(f"start\ncreate refs/heads/other {head}\nprepare\n".encode())
        holding.stdin.flush()
        assert holding.stdout.readline() == b"start: ok\n"
        assert holding.stdout.readline() == b"prepare: ok\n"
        lock = project.root / ".git" / "refs" / "heads" / "other.lock"
        await trio.sleep(2.5)  # old enough to be taken for one that was left behind
        done = trio.Event()

        async def wait_for_it() -> None:
            assert not await repository.set_ref("refs/heads/other", head, ABSENT, reason="a test")
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_it)
            await trio.sleep(0.5)
            assert not done.is_set()
            assert lock.exists()
            holding.stdin.write(b"commit\n")
            holding.stdin.close()
            with trio.fail_after(DEADLINE_S):
                await done.wait()
    finally:
        holding.kill()
        holding.wait()
        holding.stdout.close()


def test_only_locks_of_the_repository_are_removed(project: Project, tmp_path: Path) -> None:
    elsewhere = tmp_path / "precious.lock"
    inside = project.root / ".git" / "precious"
    index = project.root / ".git" / "index.lock"
    young = project.root / ".git" / "young.lock"
    for path in (elsewhere, inside, index, young):
        path.touch()
        age(path, 60)
    os.utime(young)
    git_dir = project.root / ".git"
    assert not remove_stale_lock(elsewhere, git_dir)
    assert not remove_stale_lock(inside, git_dir)
    assert not remove_stale_lock(young, git_dir)
    assert not remove_stale_lock(index, git_dir)  # a commit may be waiting for its message
    assert remove_stale_lock(index, git_dir, own=True)
    assert [path.exists() for path in (elsewhere, inside, index, young)] == [True, True, False, True]
    assert remove_stale_lock(git_dir / "never-there.lock", git_dir)


async def test_a_worktree_that_a_killed_git_was_making_breaks_nothing(project: Project) -> None:
    half = project.root / ".git" / "worktrees" / "half"
    half.mkdir(parents=True)
    (half / "commondir").touch()
    (half / "gitdir").write_text("/nowhere/.git\n")
    (half / "HEAD").write_text("0" * 40)
    age(half)
    repository = await project.repository()
    assert len(await repository.checkouts()) == 1
    assert not half.exists()
