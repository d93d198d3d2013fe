"""Files written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tinytown.errors import ConfigError, Refused
from tinytown_cli.text_files import locked, read_text_file, replace_text_file, write_new_file


def test_a_new_file_never_overwrites_an_existing_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_new_file(path, "one")
    with pytest.raises(Refused) as caught:
        write_new_file(path, "two")
    assert caught.value.code == "exists"
    assert (path.read_text(), os.listdir(tmp_path)) == ("one", ["a.txt"])


def test_a_file_changed_by_another_process_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    replace_text_file(path, "one", was=None)
    replace_text_file(path, "two", was="one")
    with pytest.raises(Refused):
        replace_text_file(path, "three", was="one")
    assert (path.read_text(), os.listdir(tmp_path)) == ("two", ["a.txt"])


def test_a_link_keeps_pointing_to_the_file_that_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("one")
    (tmp_path / "link").symlink_to("real")
    replace_text_file(tmp_path / "link", "two", was="one", private=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "two"
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o600


def test_reading_refuses_files_that_are_not_text(tmp_path: Path) -> None:
    assert read_text_file(tmp_path / "missing") is None
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "bytes").write_bytes(b"\xff")
    (tmp_path / "long").write_text("x" * 11)
    for name in ("pipe", "bytes", "long"):
        with pytest.raises(ConfigError):
            read_text_file(tmp_path / name, limit_bytes=10)


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path / "lock"), pytest.raises(Refused, match="lock"), locked(tmp_path / "lock", timeout_s=0.05):
        pass
