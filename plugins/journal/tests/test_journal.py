"""A journal in a real directory: what is in it after batches, restarts, crashes and full disks."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import tinytown_journal
from tinytown.config import convert_settings
from tinytown.errors import ConfigError, TinytownError
from tinytown.model.events import Event, OtherEvent, TaskAdded
from tinytown.state import state_directory
from tinytown_sinks import StatusSink

pytestmark = [pytest.mark.usefixtures("deadline", "no_town_environment"), pytest.mark.deadline_s(20)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return state_directory(tmp_path) / "journal.jsonl"


def journal(root: Path, **table: Any) -> StatusSink:
    kind = tinytown_journal.tinytown_settings_type()
    settings = convert_settings(kind, table, root / "tinytown.toml", "plugins.journal")
    (sink,) = tinytown_journal.tinytown_status_sinks(settings, root)
    assert isinstance(sink, StatusSink)
    return sink


def event(number: int, title: str = "") -> Event:
    at = "2026-01-31T09:30:00.125Z"
    return TaskAdded(id=f"{1000 + number // 3}-{number % 3}", at=at, task=f"t{number}", state="pending", title=title)


def events(*numbers: int) -> list[Event]:
    return [event(number) for number in numbers]


async def write(sink: StatusSink, *batches: list[Event]) -> None:
    async with sink.open():
        for batch in batches:
            await sink.put(batch)


def numbers(path: Path) -> list[int]:
    return [int(json.loads(line)["task"][1:]) for line in path.read_text().splitlines()]


async def test_each_event_is_a_line_of_json(tmp_path: Path, path: Path) -> None:
    other = OtherEvent(id="2000-0", at="2026-01-31T09:30:01.000Z", type="moon_rose", fields={"phase": "full"})
    await write(journal(tmp_path), [event(1, "Grüße\n"), other])
    first, second = path.read_text().splitlines()
    assert json.loads(first) == {
        "type": "task_added",
        "id": "1000-1",
        "at": "2026-01-31T09:30:00.125Z",
        "task": "t1",
        "state": "pending",
        "title": "Grüße\n",
    }
    assert json.loads(second) == {
        "type": "moon_rose",
        "id": "2000-0",
        "at": "2026-01-31T09:30:01.000Z",
        "phase": "full",
    }


async def test_only_its_owner_can_read_it(tmp_path: Path, path: Path) -> None:
    await write(journal(tmp_path, max_bytes=1), events(1), events(2))
    for each in (path, path.with_name("journal.jsonl.1")):
        assert stat.S_IMODE(each.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_it_lies_where_the_person_says(tmp_path: Path) -> None:
    await write(journal(tmp_path, path="logs/today.jsonl"), events(1))
    elsewhere = tmp_path / "elsewhere.jsonl"
    await write(journal(tmp_path / "town", path=str(elsewhere)), events(1))
    assert numbers(tmp_path / "logs" / "today.jsonl") == numbers(elsewhere) == [1]


async def test_an_event_that_comes_again_is_written_once(tmp_path: Path, path: Path) -> None:
    await write(journal(tmp_path), events(1, 2, 3), events(2, 3, 4), [], events(4))
    await write(journal(tmp_path), events(3, 4, 5))
    assert numbers(path) == [1, 2, 3, 4, 5]


async def test_ids_are_compared_as_numbers(tmp_path: Path, path: Path) -> None:
    batch: list[Event] = [
        OtherEvent(id=each, at="", type="x", fields={"task": f"t{n}"})
        for n, each in enumerate(["999-0", "999-2", "999-10", "1000-0", "no-number", "no-number"])
    ]
    await write(journal(tmp_path), batch[:2], batch)
    assert numbers(path) == [0, 1, 2, 3, 4, 5]  # what cannot be compared is rather written twice than not at all


@pytest.mark.parametrize("cut_bytes", [1, 2, 40, 100])
async def test_a_line_that_a_crash_has_torn_is_cut_off_and_comes_again(
    tmp_path: Path, path: Path, cut_bytes: int
) -> None:
    await write(journal(tmp_path), events(1, 2, 3))
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut_bytes])
    await write(journal(tmp_path), events(2, 3, 4))
    assert numbers(path) == [1, 2, 3, 4]
    assert path.read_bytes().startswith(whole)


async def test_what_a_power_loss_leaves_is_cut_off(tmp_path: Path, path: Path) -> None:
    await write(journal(tmp_path), events(1))
    with path.open("ab") as file:
        file.write(b"\0" * 5000)
    await write(journal(tmp_path), events(1, 2))
    assert numbers(path) == [1, 2]


async def test_somebody_elses_words_at_the_end_stay(tmp_path: Path, path: Path) -> None:
    await write(journal(tmp_path), events(1))
    with path.open("a") as file:
        file.write("a note\nand another")
    await write(journal(tmp_path), events(1, 2))
    first, *notes, last = path.read_text().splitlines()
    assert notes == ["a note", "and another"]
    assert [json.loads(line)["task"] for line in (first, last)] == ["t1", "t2"]


async def test_a_full_file_makes_room_and_the_oldest_goes(tmp_path: Path, path: Path) -> None:
    sink = journal(tmp_path, max_bytes=300, keep=2)
    await write(sink, *[events(number) for number in range(1, 11)])
    kept = [path.with_name(f"{path.name}.2"), path.with_name(f"{path.name}.1"), path]
    assert sorted(path.parent.iterdir()) == sorted(kept)
    assert all(each.stat().st_size <= 300 for each in kept)
    shown = [number for each in kept for number in numbers(each)]
    assert shown == list(range(shown[0], 11))
    assert len(shown) > 4


async def test_with_nothing_to_keep_one_file_is_left(tmp_path: Path, path: Path) -> None:
    await write(journal(tmp_path, max_bytes=1, keep=0), events(1), events(2), events(3))
    assert numbers(path) == [3]
    assert list(path.parent.iterdir()) == [path]


async def test_a_crash_right_after_making_room_does_not_bring_events_twice(tmp_path: Path, path: Path) -> None:
    await write(journal(tmp_path), events(1, 2))
    path.rename(path.with_name("journal.jsonl.1"))
    await write(journal(tmp_path), events(1, 2, 3))
    assert numbers(path) == [3]


async def test_a_file_that_log_rotation_takes_away_is_begun_again(tmp_path: Path, path: Path) -> None:
    sink = journal(tmp_path)
    async with sink.open():
        await sink.put(events(1))
        path.rename(tmp_path / "archive")
        await sink.put(events(1, 2))
        path.unlink()
        await sink.put(events(3))
    assert numbers(path) == [3]
    assert numbers(tmp_path / "archive") == [1]


async def test_a_full_disk_takes_no_part_of_a_batch(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = journal(tmp_path)
    real_write, room = os.write, 50

    def write_a_little(fd: int, block: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = real_write(fd, bytes(block[:room]))
        room -= written
        return written

    async with sink.open():
        await sink.put(events(1))
        before = path.read_bytes()
        with monkeypatch.context() as patched:
            patched.setattr("tinytown_journal.lines.os.write", write_a_little)
            with pytest.raises(TinytownError, match="No space left on device") as caught:
                await sink.put(events(2, 3))
        assert path.read_bytes() == before
        await sink.put(events(2, 3))
    assert caught.value.code == "journal_not_writable"
    assert numbers(path) == [1, 2, 3]


async def test_a_batch_that_the_disk_does_not_confirm_is_not_taken(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    sink = journal(tmp_path, fsync=True)
    async with sink.open():
        await sink.put(events(1))
        with monkeypatch.context() as patched:
            patched.setattr("tinytown_journal.lines.os.fsync", fail)
            with pytest.raises(TinytownError, match="Input/output error"):
                await sink.put(events(2))
        await sink.put(events(2))
    assert numbers(path) == [1, 2]


async def test_a_symbolic_link_is_not_followed(tmp_path: Path, path: Path) -> None:
    path.parent.mkdir(parents=True)
    precious = tmp_path / "precious"
    precious.write_text("mine")
    path.symlink_to(precious)
    with pytest.raises(TinytownError, match="it is a symbolic link"):
        await write(journal(tmp_path), events(1))
    assert precious.read_text() == "mine"


async def test_neither_a_pipe_nor_a_directory_is_a_journal(tmp_path: Path, path: Path) -> None:
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    with pytest.raises(TinytownError, match="it is no regular file"):
        await write(journal(tmp_path), events(1))
    with pytest.raises(TinytownError, match="Is a directory"):
        await write(journal(tmp_path, path="."), events(1))


async def test_nothing_stays_open(tmp_path: Path) -> None:
    before = os.listdir("/dev/fd")
    await write(journal(tmp_path, max_bytes=1), events(1), events(2))
    with pytest.raises(TinytownError):
        await write(journal(tmp_path, path="."), events(1))
    assert len(os.listdir("/dev/fd")) == len(before)


@pytest.mark.parametrize("table", [{"max_bytes": -1}, {"keep": 1.5}, {"fsync": "yes"}, {"file": "x"}])
async def test_settings_that_make_no_sense_are_named(tmp_path: Path, table: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"plugins\.journal\.{next(iter(table))}"):
        journal(tmp_path, **table)
