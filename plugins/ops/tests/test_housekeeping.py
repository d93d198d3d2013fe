"""What a town leaves on its machine is bounded: its own logs while it runs, and the files of agents that are gone."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from tinytown.config import LimitsConfig
from tinytown_ops import housekeeping
from tinytown_ops.housekeeping import Housekeeping, keep_house
from tinytown_testing import check_service
from tinytown_testing.towns import TownDirectory

DAYS = 24 * 3600


def age(path: Path, days: float) -> None:
    when = time.time() - days * DAYS
    os.utime(path, (when, when))


def make(path: Path, days: float = 0.0, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    age(path, days)
    return path


def test_files_of_removed_agents_go_once_they_are_old(tmp_path: Path) -> None:
    limits = LimitsConfig(finished_days=7)
    kept = [
        make(tmp_path / "logs/ada.log", 90),
        make(tmp_path / "logs/gone-lately.log", 1),
        make(tmp_path / "agents/ada/rounds/1.json", 90),
        make(tmp_path / "agents/gone-lately/rounds/1.json", 1),
        make(tmp_path / "tinytown.toml", 90),
    ]
    old = [
        make(tmp_path / "logs/gone.log", 8),
        make(tmp_path / "logs/gone.log.1", 8),
        make(tmp_path / "agents/gone/rounds/1.json", 8),
    ]
    for directory in ("agents/gone/rounds", "agents/gone", "agents/gone-lately/rounds", "agents/gone-lately"):
        age(tmp_path / directory, 90)
    outside = make(tmp_path / "elsewhere/precious", 90)
    (tmp_path / "agents/link").symlink_to(outside.parent)
    os.utime(tmp_path / "agents/link", (0, 0), follow_symlinks=False)
    keep_house(tmp_path, {"ada"}, limits)
    assert [path for path in kept if not path.exists()] == []
    assert [path for path in old if path.exists()] == []
    assert not (tmp_path / "agents/gone").exists()
    assert not (tmp_path / "agents/link").is_symlink()
    assert outside.exists()


def test_a_log_beyond_its_bound_is_moved_aside_while_it_is_written(tmp_path: Path) -> None:
    log = tmp_path / "kernel.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"a" * 100)
        keep_house(tmp_path, (), LimitsConfig(log_bytes=50))
        writer.write(b"b")
    assert log.read_bytes() == b"b"
    assert (tmp_path / "kernel.log.1").read_bytes() == b"a" * 100
    keep_house(tmp_path, (), LimitsConfig(log_bytes=50))
    assert log.read_bytes() == b"b"


def test_a_link_in_the_place_of_a_log_costs_no_other_file_its_content(tmp_path: Path) -> None:
    victims = [make(tmp_path / name, text="precious" * 100) for name in ("first", "second")]
    (tmp_path / "kernel.log").symlink_to(victims[0])
    keep_house(tmp_path, (), LimitsConfig(log_bytes=50))
    assert (tmp_path / "kernel.log").is_symlink()
    (tmp_path / "kernel.log").unlink()
    make(tmp_path / "kernel.log", text="z" * 100)
    (tmp_path / "kernel.log.1").symlink_to(victims[1])
    keep_house(tmp_path, (), LimitsConfig(log_bytes=50))
    assert (tmp_path / "kernel.log.1").read_text() == "z" * 100
    assert [victim.read_text() for victim in victims] == ["precious" * 100] * 2


@pytest.mark.usefixtures("deadline")
async def test_a_running_kernel_keeps_house(town_dir: TownDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "_EVERY_S", 0.05)
    town_dir.configure("[limits]\nlog_bytes = 100\n")
    async with town_dir.open() as town:
        log = make(town_dir.state / "kernel.log", text="y" * 1000)
        await town.wait_until(town.status, lambda _: log.stat().st_size == 0)
        assert (town_dir.state / "kernel.log.1").read_text() == "y" * 1000


@pytest.mark.usefixtures("deadline")
async def test_it_keeps_the_promises_of_a_service() -> None:
    (await check_service(Housekeeping)).raise_if_broken()
