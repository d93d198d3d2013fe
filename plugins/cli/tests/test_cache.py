"""Files in the cache directory: private, whole, believed only if nobody else could have written them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tinytown_cli import cache
from tinytown_cli.cache import cache_file, read_cache, write_cache

CONTENT: dict[str, Any] = {"format": 1, "names": ["ada", "ben"]}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(cache_file("names") or "")


@pytest.fixture
def written(path: Path) -> Path:
    write_cache(str(path), CONTENT)
    assert read_cache(str(path)) == CONTENT
    return path


def test_a_file_is_private(written: Path) -> None:
    assert written.stat().st_mode & 0o777 == 0o600
    assert written.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("raw", [b"", b"[]", b"\0" * 100, b"\xff" * 100, b"(" * 100_000])
def test_a_damaged_file_is_ignored(written: Path, raw: bytes) -> None:
    whole = written.read_bytes()
    for damaged in (raw, whole[:-1], whole + b"x", whole[:10] + b"x" + whole[11:]):
        written.write_bytes(damaged)
        assert read_cache(str(written)) is None


def test_a_file_that_others_may_write_is_ignored(written: Path) -> None:
    written.chmod(0o666)
    assert read_cache(str(written)) is None


def test_a_file_of_another_user_is_ignored(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert read_cache(str(written)) is None


def test_a_link_in_place_of_the_file_is_not_followed(written: Path, tmp_path: Path) -> None:
    written.symlink_to(written.rename(tmp_path / "elsewhere"))
    assert read_cache(str(written)) is None


def test_a_directory_that_cannot_be_written_does_no_harm(path: Path) -> None:
    path.parent.parent.write_text("no directory")
    write_cache(str(path), CONTENT)
    assert path.parent.parent.read_text() == "no directory"


def test_a_file_that_cannot_be_replaced_leaves_nothing_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(cache.os, "replace", refuse)
    write_cache(str(path), CONTENT)
    assert list(path.parent.iterdir()) == []


def test_without_a_home_directory_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert cache_file("names") is None


def test_a_relative_cache_directory_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Path(cache_file("names") or "").parent == tmp_path / ".cache" / "tinytown"
