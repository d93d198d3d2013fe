"""A town that is remembered is the one that is meant, and anything that could make it another one is seen."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from tinytown_cli.known_towns import recall_town
from tinytown_testing.shell import Shell


@pytest.fixture
def known(tt: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A town that the shell's commands remember, also in this process."""
    tt.variables["XDG_CACHE_HOME"] = str(tt.directory.parent / "cache")
    for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "TINYTOWN_HOME"):
        monkeypatch.setenv(name, tt.variables[name])
    for name in ("REDIS_URL", "TINYTOWN_REDIS_PASSWORD", "TINYTOWN_TOWN"):
        monkeypatch.delenv(name, raising=False)
    tt("init", "--name", "known")
    settle(tt.directory / "tinytown.toml", Path(tt.variables["TINYTOWN_HOME"], "config.toml"))
    tt("status")
    return tt


def settle(*paths: Path) -> None:
    """Make them as old as files are that nobody edits now."""
    long_ago = time.time() - 60
    for path in paths:
        os.utime(path, (long_ago, long_ago))


def test_a_town_is_remembered_for_each_directory_that_is_used(known: Shell) -> None:
    town = recall_town(str(known.directory))
    assert town
    assert (town.name, town.root) == ("known", str(known.directory))
    below = known.directory / "src" / "deep"
    below.mkdir(parents=True)
    assert recall_town(str(below)) is None
    assert known.json("status", cwd=below)["town"] == "known"
    assert recall_town(str(below)) == town


def test_changed_settings_count_at_once(known: Shell) -> None:
    path = known.directory / "tinytown.toml"
    path.write_text(path.read_text() + "[limits]\nmessage_bytes = 10\n")
    assert "at most 10 bytes" in known("send", "supervisor", "eleven bytes", code=2).err
    path.write_text("nonsense")
    assert "not valid TOML" in known("status", code=2).err


def test_settings_of_the_person_count_at_once(known: Shell) -> None:
    assert recall_town(str(known.directory))
    Path(known.variables["TINYTOWN_HOME"], "config.toml").write_text("nonsense = 1\n")
    assert recall_town(str(known.directory)) is None
    assert "nonsense" in known("status", code=2).err


def test_a_town_that_is_made_nearer_is_found(known: Shell) -> None:
    inner = known.directory / "inner"
    inner.mkdir()
    known("status", cwd=inner)
    assert recall_town(str(inner))
    known("init", "--inside", "--name", "nearer", cwd=inner)
    assert known.json("status", cwd=inner)["town"] == "nearer"


def test_a_server_that_was_stopped_is_started_again(known: Shell) -> None:
    known("send", "supervisor", "hello", "--info")
    known("stop")
    assert [message["summary"] for message in known.json("inbox")["messages"]] == ["hello"]


def test_a_project_that_was_moved_keeps_its_town(known: Shell) -> None:
    known("send", "supervisor", "hello", "--info")
    moved = known.directory.with_name("moved")
    known.directory.rename(moved)
    assert len(known.json("inbox", cwd=moved)["messages"]) == 1
    assert known.json("status", cwd=moved)["root"] == str(moved)
    known.directory.mkdir()
    assert recall_town(str(known.directory)) is None


def test_a_copied_project_is_refused_however_well_the_original_is_known(known: Shell) -> None:
    copy = known.directory.with_name("copy")
    shutil.copytree(known.directory, copy)
    assert "is a copy of the town" in known("status", cwd=copy, code=4).err
    assert known.json("status")["root"] == str(known.directory)


def test_the_variables_of_a_server_are_obeyed(known: Shell) -> None:
    answer = known("status", env={"REDIS_URL": "redis://127.0.0.1:1/0"}, code=5)
    assert "127.0.0.1:1" in answer.err
    assert known.json("status")["town"] == "known"


def test_a_linked_worktree_is_its_main_ones_town_and_is_not_remembered(known: Shell) -> None:
    for words in (
        ("init", "-q"),
        ("add", "tinytown.toml"),
        ("-c", "user.name=t", "-c", "user.email=t@example.invalid", "commit", "-qm", "begin"),
        ("worktree", "add", "-q", "../linked"),
    ):
        subprocess.run(["git", *words], cwd=known.directory, check=True, capture_output=True)
    linked = known.directory.with_name("linked")
    settle(linked / "tinytown.toml")
    assert known.json("status", cwd=linked)["root"] == str(known.directory)
    assert recall_town(str(linked)) is None


def test_a_damaged_or_foreign_memory_is_ignored(known: Shell) -> None:
    (path,) = Path(known.variables["XDG_CACHE_HOME"], "tinytown").glob("towns-*")
    for content in (b"", b"rubbish", path.read_bytes()[:-7]):
        path.write_bytes(content)
        assert known.json("status")["town"] == "known"
    path.chmod(0o666)
    assert recall_town(str(known.directory)) is None


def test_a_password_is_never_written_down(tt: Shell) -> None:
    tt.variables["XDG_CACHE_HOME"] = str(tt.directory.parent / "cache")
    (tt.directory / "tinytown.toml").write_text('name = "t"\n[redis]\nurl = "redis://user:s3cret@127.0.0.1:1/0"\n')
    settle(tt.directory / "tinytown.toml")
    tt("status", code=5)
    written = b"".join(path.read_bytes() for path in Path(tt.variables["XDG_CACHE_HOME"]).rglob("*-*"))
    assert b"s3cret" not in written
