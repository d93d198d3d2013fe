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
