"""Directories that are deeper than Python goes."""

from __future__ import annotations

import os
from contextlib import chdir
from pathlib import Path

import pytest
from tinytown_cli.trees import last_change, remove_tree

LEVELS = 3_000


def nest(directory: Path) -> None:
    """Many directories, each in the one before: paths that the system would not take whole."""
    directory.mkdir()
    with chdir(directory):
        for _ in range(LEVELS):
            os.mkdir("d")
            os.chdir("d")


def test_a_directory_of_any_depth_is_removed(tmp_path: Path) -> None:
    nest(tmp_path / "deep")
    (tmp_path / "kept").touch()
    (tmp_path / "deep" / "link").symlink_to(tmp_path)
    remove_tree(tmp_path / "deep")
    assert os.listdir(tmp_path) == ["kept"]
    with pytest.raises(FileNotFoundError):
        remove_tree(tmp_path / "deep")


def test_the_last_change_in_it_is_found(tmp_path: Path) -> None:
    nest(tmp_path / "deep")
    assert last_change(tmp_path / "deep") > 0
    remove_tree(tmp_path / "deep")  # pytest could not
    (tmp_path / "flat" / "in").mkdir(parents=True)
    (tmp_path / "flat" / "in" / "file").touch()
    os.symlink("nowhere", tmp_path / "flat" / "link")
    for path in (tmp_path / "flat" / "in", tmp_path / "flat"):
        os.utime(path, (5, 5))
    os.utime(tmp_path / "flat" / "in" / "file", (7, 7))
    os.utime(tmp_path / "flat" / "link", (6, 6), follow_symlinks=False)
    assert last_change(tmp_path / "flat") == 7
