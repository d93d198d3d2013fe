"""What git writes for a work tree, found without git."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tinytown_adapters import git_directories


def git(directory: Path, *words: str) -> None:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    subprocess.run(["git", *identity, *words], cwd=directory, check=True, capture_output=True, timeout=30)


def test_a_repository_keeps_it_beside_its_files(tmp_path: Path) -> None:
    git(tmp_path, "init")
    (tmp_path / "below").mkdir()
    assert git_directories(tmp_path) == git_directories(tmp_path / "below") == (tmp_path / ".git",)


def test_a_linked_worktree_keeps_it_in_its_repository(tmp_path: Path) -> None:
    whole, linked = tmp_path / "whole", tmp_path / "linked"
    whole.mkdir()
    git(whole, "init")
    git(whole, "commit", "--allow-empty", "-m", "first")
    git(whole, "worktree", "add", str(linked))
    assert git_directories(linked) == (whole / ".git", whole / ".git" / "worktrees" / "linked")


def test_outside_of_git_there_is_nothing(tmp_path: Path) -> None:
    assert git_directories(tmp_path) == ()
    (tmp_path / ".git").write_bytes(b"\xff\0")
    assert git_directories(tmp_path) == ()


def test_a_file_that_names_another_directory_gives_none(tmp_path: Path) -> None:
    other, work = tmp_path / "other", tmp_path / "work"
    for directory in (other, work):
        directory.mkdir()
        git(directory, "init")
    (work / ".git").rename(work / "git")
    (work / ".git").write_text(f"gitdir: {other}/.git\n")
    assert git_directories(work) == ()
    (work / "git" / "commondir").write_text(f"{other}/.git\n")
    (work / "git" / "gitdir").write_text(f"{work}/.git\n")
    (work / ".git").write_text("gitdir: git\n")
    assert git_directories(work) == ()
    (work / ".git").unlink()
    (work / ".git").symlink_to(other / ".git")
    assert git_directories(work) == ()


def test_a_submodule_keeps_it_in_the_repository_around_it(tmp_path: Path) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    for directory in (whole, part):
        directory.mkdir()
        git(directory, "init")
        git(directory, "commit", "--allow-empty", "-m", "first")
    git(whole, "-c", "protocol.file.allow=always", "submodule", "add", str(part), "below/part")
    modules = whole / ".git" / "modules"
    assert git_directories(whole / "below" / "part") == (modules / "below" / "part",)
