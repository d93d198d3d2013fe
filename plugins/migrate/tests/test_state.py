"""The state of an older release, in the project, moves to where this one has it; see `tinytown.state`."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
from tinytown.config import CONFIG_FILE
from tinytown.errors import Refused
from tinytown.state import open_state


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_town_environment: None) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))


def old_town(root: Path) -> Path:
    root.mkdir()
    (root / CONFIG_FILE).write_text('name = "shop"\n')
    (root / ".tt" / "agents").mkdir(parents=True, mode=0o700)
    for name in ("kernel.lock", "server.lock", "data"):
        (root / ".tt" / name).write_text("")
    return root


def test_the_state_of_a_former_release_moves_once(tmp_path: Path) -> None:
    root = old_town(tmp_path / "shop")
    (root / ".tt" / "formulas").mkdir()
    stopped: list[Path] = []
    with pytest.warns(UserWarning, match="has moved from"):
        directory = open_state(root, stop_server=stopped.append)
    assert stopped == [root / ".tt"]
    assert (directory / "data").exists()
    assert os.listdir(root / ".tt") == ["formulas"], "a person's own files stay"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_state(root) == directory


def test_it_moves_to_another_file_system_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = old_town(tmp_path / "shop")

    def rename(self: Path, target: Path) -> Path:
        if self.name == ".tt":
            raise OSError(18, "Invalid cross-device link")
        os.rename(self, target)
        return target

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.warns(UserWarning, match="has moved from"):
        assert (open_state(root) / "data").exists()
    assert not (root / ".tt").exists()


def test_a_linked_old_state_is_refused(tmp_path: Path) -> None:
    root = old_town(tmp_path / "shop")
    (root / ".tt").rename(tmp_path / "target")
    (root / ".tt").symlink_to(tmp_path / "target")
    with pytest.raises(Refused, match="it is l"):
        open_state(root)


def test_the_state_of_a_running_kernel_does_not_move(tmp_path: Path) -> None:
    import fcntl

    root = old_town(tmp_path / "shop")
    with open(root / ".tt" / "kernel.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Refused, match="but a kernel uses it; stop that kernel first"):
            open_state(root)
    assert (root / ".tt" / "data").exists()
