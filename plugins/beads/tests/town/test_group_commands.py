"""``tt group`` as a person types it, without a kernel."""

from __future__ import annotations

from typing import Any

import pytest


def add(tt: Any, text: str, *options: str) -> str:
    return str(tt.json("backlog", "add", text, *options)["task_id"])


def test_a_group_is_made_of_tasks_and_says_how_far_they_are(in_town: Any) -> None:
    one, two = add(in_town, "build"), add(in_town, "ship")
    made = in_town.json("group", "create", "release", one[:8], two, "--description", "the release")
    assert (made["state"], made["owner"], made["total"], made["completed"]) == ("open", "supervisor", 2, 0)
    in_town("task", "complete", one)
    result = in_town.json("group", "status", "release")
    assert result["counts"] == {"pending": 1, "completed": 1}
    assert [member["title"] for member in result["members"]] == ["build", "ship"]
    assert result in in_town.json("group", "list")["groups"]
    assert "1/2" in in_town("group", "list").out


def test_a_failed_member_keeps_a_group_open_and_is_named(in_town: Any) -> None:
    one, two = add(in_town, "build"), add(in_town, "ship")
    in_town("group", "create", "failing", one, two)
    in_town("task", "complete", one)
    in_town("task", "fail", two, "--reason", "no licence")
    result = in_town.json("group", "status", "failing")
    assert (result["state"], result["failing"]) == ("open", [two])
    assert f"{two} blocks completion: failed, no licence" in in_town("group", "status", "failing").out
    answer = in_town("group", "watch", "failing", "--json", code=1)
    assert answer.error["code"] == "group_stuck"
    assert in_town("group", "close", "failing", "--json", code=4).error["code"] == "needs_force"
    assert in_town.json("group", "close", "failing", "--force", "--reason", "enough")["state"] == "closed"
    assert "failing" not in [each["name"] for each in in_town.json("group", "list")["groups"]]
    assert "failing" in [each["name"] for each in in_town.json("group", "list", "--all")["groups"]]


def test_members_come_and_go(in_town: Any) -> None:
    one, two, three = (add(in_town, text) for text in ("a", "b", "c"))
    in_town("group", "create", "moving", one)
    assert in_town.json("group", "add", "moving", two, three, one)["total"] == 3
    assert [m["task_id"] for m in in_town.json("group", "remove", "moving", two[:8])["members"]] == [one, three]
    assert "expected a task of group moving" in in_town("group", "remove", "moving", two, code=2).err


def test_a_dry_run_shows_the_waves_and_makes_nothing(in_town: Any) -> None:
    one = add(in_town, "a")
    two = add(in_town, "b", "--needs", one)
    three = add(in_town, "c", "--needs", one)
    four = add(in_town, "d", "--needs", f"{two},{three}")
    result = in_town.json("group", "create", "waves", four, three, two, one, "--dry-run")
    assert result["waves"] == [[one], [three, two], [four]]
    in_town("group", "status", "waves", code=3)


def test_nothing_is_overwritten(in_town: Any) -> None:
    in_town("group", "create", "kept", add(in_town, "a"))
    assert in_town("group", "create", "kept", "--json", code=4).error["code"] == "exists"
    assert in_town.json("group", "close", "kept", "--force", "--forget")["state"] == "forgotten"
    in_town("group", "create", "kept")


@pytest.mark.parametrize("name", ["", "../x", "-x\x1b[2J"])
def test_a_name_that_is_none_is_refused(in_town: Any, name: str) -> None:
    assert in_town("group", "create", "--", name, code=2).err.startswith("error: expected a group's name")


def test_what_is_not_there_is_said(in_town: Any) -> None:
    assert "no group called 'nope'" in in_town("group", "status", "nope", code=3).err
    assert "no task" in in_town("group", "create", "missing", "nope", code=3).err
    in_town("group", "status", "missing", code=3)
    assert "no agent called" in in_town("group", "create", "missing", "--owner", "nobody", code=3).err


def test_watching_ends_when_the_time_is_over(in_town: Any) -> None:
    in_town("group", "create", "late", add(in_town, "a"))
    assert in_town("group", "watch", "late", "--timeout", "0.2", "--json", code=1).error["code"] == "timeout"
