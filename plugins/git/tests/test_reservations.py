"""Reservations: what overlaps, who sees them, and when they end."""

from __future__ import annotations

import pytest
import trio
from tinytown.contracts import Finished, Outcome, Report, Round
from tinytown.errors import UsageError
from tinytown_git.reservations import (
    RESERVATIONS_FIELD,
    Reservation,
    clean_paths,
    conflicts,
    overlap,
    read_reservations,
    reserved_notice,
    with_reservation,
    without_paths,
)
from tinytown_git.work import NOTICE_FIELD
from tinytown_testing.scripted_backend import ScriptedBackend
from tinytown_testing.shell import Shell
from tinytown_testing.towns import TownDirectory

from .conftest import Project
from .test_rescue import shop
from .test_workspace import opened, town

__all__ = ["shop", "town"]

pytestmark = pytest.mark.usefixtures("deadline")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("src/api", "src/api", True),
        ("src/api", "src/api/routes.py", True),
        ("src/*.py", "src/main.py", True),
        ("src/*/a.py", "src/x", True),
        (".", "anything", True),
        ("src/api", "src/apiary", False),
        ("src/*.py", "src/main.js", False),
        ("docs", "src", False),
    ],
)
def test_paths_overlap_if_they_may_mean_the_same_file(one: str, other: str, expected: bool) -> None:
    assert overlap(one, other) is expected
    assert overlap(other, one) is expected


@pytest.mark.parametrize("word", ["/etc/passwd", "../other", "", "a\nb", "x" * 600])
def test_paths_outside_of_the_repository_are_refused(word: str) -> None:
    with pytest.raises(UsageError, match="expected a path or pattern"):
        clean_paths([word])


def test_reservations_end_after_their_time_and_are_replaced_and_released_by_path() -> None:
    old = Reservation(agent="ada", paths=("a", "b"), until_ms=1_000)
    assert read_reservations([{"agent": "ada", "paths": ["a"], "until_ms": 1_000}], 2_000) == ()
    assert read_reservations("nonsense", 0) == ()
    new = Reservation(agent="ada", paths=("b", "c"), until_ms=2_000)
    both = with_reservation((old,), new)
    assert [each.paths for each in both] == [("a",), ("b", "c")]
    assert [each.paths for each in without_paths(both, "ada", ["c"])] == [("a",), ("b",)]
    assert without_paths(both, "ada", []) == ()
    assert without_paths(both, "ben", []) == both
    assert conflicts(both, "ben", ["c/deep"]) == [new]
    assert conflicts(both, "ada", ["c/deep"]) == []


def test_a_person_reserves_sees_and_releases(shop: Project, tt: Shell) -> None:
    made = tt("reserve", "src/api", "--hours", "1", "--note", "routes", "--json", cwd=shop.root).json
    assert (made["agent"], made["paths"], made["overlapping"]) == ("supervisor", ["src/api"], [])
    tt("spawn", "ada", "--cli", "shell", "--no-start", cwd=shop.root)
    refused = tt("reserve", "src", "--agent", "ada", cwd=shop.root, code=4)
    assert "reserved by supervisor" in refused.err
    assert tt("reserve", "src", "--agent", "ada", "--anyway", "--json", cwd=shop.root).json["overlapping"]
    assert "supervisor" in tt("reservations", "src/api/x", cwd=shop.root).out
    assert "reserved by ada" in tt("status", "--deep", cwd=shop.root).out
    assert "reserved: src/api by supervisor until" in tt("status", cwd=shop.root).out
    tt("merge", "pause", "--reason", "release day", cwd=shop.root)
    (notice,) = tt("status", "--json", cwd=shop.root).json["notices"]
    assert notice["text"].startswith("merging is paused by supervisor: release day")
    assert notice["text"].endswith("UTC")
    assert notice["text"].count("; src by ada until") == 1
    tt("merge", "resume", cwd=shop.root)
    left = tt("release", "--json", cwd=shop.root).json
    assert (left["agent"], left["reservations"]) == ("supervisor", [])
    listed = tt("reservations", "--json", cwd=shop.root).json["reservations"]
    assert [(each["agent"], each["paths"]) for each in listed] == [("ada", ["src"])]
    assert "supervisor" not in tt("status", "--json", cwd=shop.root).json["notices"][0]["text"]
    tt("release", "--agent", "ada", cwd=shop.root)
    assert tt("status", "--json", cwd=shop.root).json["notices"] == []
    assert tt("reserve", "/etc", cwd=shop.root, code=2).err


async def test_reservations_whose_time_is_over_go_from_the_status(town: TownDirectory) -> None:
    async with town.connect() as living:
        old = {"agent": "ada", "paths": ["a"], "until_ms": 1_000}
        await living.run(living.operations.set_plugin_field("git", RESERVATIONS_FIELD, [old]))
        await living.run(living.operations.set_plugin_field("git", NOTICE_FIELD, "reserved: a by ada"))
    async with opened(town) as living:
        for field in (RESERVATIONS_FIELD, NOTICE_FIELD):
            read = living.operations.plugin_field("git", field)
            await living.wait_until(lambda read=read: living.run(read), lambda value: value is None)


async def test_agents_reserve_and_others_read_it_before_they_begin_and_it_ends_with_the_task(
    town: TownDirectory, scripted_backend: ScriptedBackend
) -> None:
    prompts, going = dict[str, str](), trio.Event()

    async def work(round_: Round, report: Report) -> Outcome:
        assert round_.task is not None
        prompts[round_.task.description] = round_.prompt
        if round_.task.description == "first":
            await going.wait()
        return Finished(text="done")

    scripted_backend.script = work
    async with opened(town) as living:
        ada, ben = await living.spawn("ada"), await living.spawn("ben")
        first = await ada.assign("first")
        await living.wait_until(lambda: living.task(first.id), lambda task: task.state == "running")
        members = {"agent": "ada", "paths": "src/api\ndocs", "until_ms": str(2**45), "task": first.id, "note": "n"}
        await living.run(living.operations.emit("git_reserved", members))

        async def reserved() -> object:
            return await living.run(living.operations.plugin_field("git", RESERVATIONS_FIELD))

        async def notice() -> object:
            return await living.run(living.operations.plugin_field("git", NOTICE_FIELD))

        await living.wait_until(reserved, bool)
        found = read_reservations(await reserved(), 0)
        assert [(each.agent, each.paths, each.task) for each in found] == [("ada", ("src/api", "docs"), first.id)]
        said = await living.wait_until(notice, bool)
        assert said == reserved_notice(found)
        assert found[0].until_ms < 2**45  # not for longer than a week
        await trio.sleep(4)  # a kernel asks for the data of plugins every few seconds
        await living.wait_for_task((await ben.assign("second")).id)
        going.set()
        await living.wait_for_task(first.id)
        await living.wait_until(reserved, lambda value: value is None)
        await living.wait_until(notice, lambda value: value is None)
    assert "Reserved by others" not in prompts["first"]
    assert "src/api, docs: n" in prompts["second"]
