"""Where the state of a town lies, and what its record remembers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tinytown import state
from tinytown.config import CONFIG_FILE
from tinytown.errors import NotFound, Refused
from tinytown.state import find_town, open_state, read_record, state_directory


@pytest.fixture(autouse=True)
def home(no_town_environment: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(state, "_known", {})
    return state.state_home()


def make(root: Path, text: str = 'name = "shop"\nid = "shop-1"\n') -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / CONFIG_FILE).write_text(text)
    return root


def forget() -> None:
    """As another process would begin."""
    state._known.clear()


def git(root: Path, *words: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.invalid")
    subprocess.run(["git", *identity, *words], cwd=root, check=True, capture_output=True)


def test_the_state_lies_under_the_id_outside_of_the_project(tmp_path: Path, home: Path) -> None:
    root = make(tmp_path / "shop")
    assert open_state(root) == home / "shop-1"
    assert (home / "shop-1").stat().st_mode & 0o777 == 0o700
    assert os.listdir(root) == [CONFIG_FILE]


def test_without_an_id_the_path_names_the_state(tmp_path: Path, home: Path) -> None:
    one, two = make(tmp_path / "a" / "Shop!", 'name = "s"'), make(tmp_path / "b" / "Shop!", 'name = "s"')
    assert state_directory(one).parent == state_directory(two).parent == home
    assert state_directory(one).name.startswith("shop-")
    assert state_directory(one) != state_directory(two)


@pytest.mark.parametrize("bad", ["../x", "/etc", "", "a/b", ["x"]])
def test_an_id_that_is_none_leads_nowhere(tmp_path: Path, home: Path, bad: object) -> None:
    root = make(tmp_path / "shop", f"id = {bad!r}")
    assert state_directory(root).parent == home
    assert state_directory(root).name.startswith("shop-")


@pytest.mark.parametrize(("named", "expected"), [("here", "here"), ("/elsewhere/x", "/elsewhere/x")])
def test_the_settings_may_name_another_directory(tmp_path: Path, named: str, expected: str) -> None:
    root = make(tmp_path / "shop", f'[state]\ndirectory = "{named}"')
    assert state_directory(root) == root / expected


def test_a_relative_home_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state.state_home().is_relative_to(tmp_path)


def test_a_moved_project_keeps_its_state(tmp_path: Path) -> None:
    before = open_state(make(tmp_path / "old"))
    (tmp_path / "old").rename(tmp_path / "new")
    forget()
    assert open_state(tmp_path / "new") == before
    record = read_record("shop-1")
    assert record is not None
    assert record.root == str(tmp_path / "new")


def test_a_copy_is_refused_while_the_original_is_there(tmp_path: Path) -> None:
    original = make(tmp_path / "original")
    open_state(original)
    shutil.copytree(original, tmp_path / "copy")
    with pytest.raises(Refused, match="is a copy of the town at") as raised:
        open_state(tmp_path / "copy")
    assert raised.value.code == "town_copied"
    make(tmp_path / "copy", 'id = "shop-2"')
    forget()
    assert open_state(tmp_path / "copy").name == "shop-2"
    assert open_state(original).name == "shop-1"


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_state_directory_that_is_none_of_ours_is_refused(tmp_path: Path, home: Path, kind: str) -> None:
    root = make(tmp_path / "shop")
    home.mkdir(parents=True)
    if kind == "link":
        (tmp_path / "target").mkdir()
        (home / "shop-1").symlink_to(tmp_path / "target")
    else:
        (home / "shop-1").write_text("")
    with pytest.raises(Refused) as raised:
        open_state(root)
    assert raised.value.code == "foreign_directory"


def test_inside_a_round_nothing_is_made(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYTOWN_ROUND_ID", "r1")
    assert open_state(make(tmp_path / "shop")) == home / "shop-1"
    assert not home.exists()


def test_the_record_knows_the_state_of_a_town_without_settings(tmp_path: Path) -> None:
    root = make(tmp_path / "shop")
    open_state(root)
    text = (root / CONFIG_FILE).read_text()
    (root / CONFIG_FILE).unlink()
    forget()
    assert state_directory(root).name == "shop-1"
    assert getattr(read_record("shop-1"), "settings", None) == text
    with pytest.raises(NotFound, match="no town in"):
        find_town(root)


def test_without_a_record_no_town_is_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no town in"):
        find_town(tmp_path)


def test_a_damaged_record_is_none(tmp_path: Path, home: Path) -> None:
    root = make(tmp_path / "shop")
    open_state(root)
    for content in ("", "{}", "[]", '{"root": 3}', "\xff"):
        (home / "shop-1@record.json").write_text(content, encoding="latin-1")
        assert read_record("shop-1") is None
        assert list(state.records()) == []
    open_state(root)
    assert read_record("shop-1") is not None


def test_a_linked_worktree_belongs_to_the_town_of_the_main_one(tmp_path: Path) -> None:
    root = make(tmp_path / "shop")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "a town")
    git(root, "worktree", "add", "-q", str(tmp_path / "linked"))
    (tmp_path / "linked" / "deep").mkdir()
    assert find_town(tmp_path / "linked" / "deep") == root
    (tmp_path / "linked" / CONFIG_FILE).unlink()
    assert find_town(tmp_path / "linked") == root
    make(tmp_path / "linked", 'id = "own"')
    assert find_town(tmp_path / "linked") == tmp_path / "linked"


def test_a_submodule_is_no_worktree(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / ".git").write_text("gitdir: ../.git/modules/sub\n")
    assert state.main_worktree(tmp_path / "sub") is None
    assert state.main_worktree(tmp_path) is None


@pytest.mark.parametrize("has_id", [True, False])
def test_without_the_plugin_the_state_of_a_former_release_stays_and_the_error_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_id: bool
) -> None:
    root = make(tmp_path / "shop", 'name = "shop"\nid = "shop-1"' if has_id else 'name = "shop"')
    (root / ".tt").mkdir()
    (root / ".tt" / "server.lock").write_text("")
    monkeypatch.setattr(state, "installed", lambda group: ())
    with pytest.raises(Refused, match="the state of this town is of an older release") as raised:
        open_state(root)
    assert (raised.value.code, raised.value.hint) == ("older_release", "pip install tinytown-migrate")
    assert os.listdir(root / ".tt") == ["server.lock"]
    assert not state_directory(root).exists()


def test_data_that_is_gone_is_missed(tmp_path: Path) -> None:
    root = make(tmp_path / "shop")
    open_state(root)
    state.require_data(root)
    state.mark_data(root)
    with pytest.raises(NotFound, match="the data of the town at") as raised:
        state.require_data(root)
    assert (raised.value.code, raised.value.hint) == ("data_gone", "tt uninstall --force forgets the town")
