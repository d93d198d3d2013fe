"""``tt group`` as a person types it, without a kernel."""

from __future__ import annotations

from typing import Any

import pytest


def add(tt: Any, text: str, *options: str) -> str:
    return str(tt.json("backlog", "add", text, *options)["task_id"])


def test_a_group_is_made_of_tasks_and_says_how_far_they_are(tt: Any) -> None:
    one, two = add(tt, "build"), add(tt, "ship")
    made = tt.json("group", "create", "release", one[:8], two, "--description", "the release")
    assert (made["state"], made["owner"], made["total"], made["completed"]) == ("open", "supervisor", 2, 0)
    tt("task", "complete", one)
    result = tt.json("group", "status", "release")
    assert result["counts"] == {"pending": 1, "completed": 1}
    assert [member["title"] for member in result["members"]] == ["build", "ship"]
    assert result in tt.json("group", "list")["groups"]
    assert "1/2" in tt("group", "list").out


def test_a_failed_member_keeps_a_group_open_and_is_named(tt: Any) -> None:
    one, two = add(tt, "build"), add(tt, "ship")
    tt("group", "create", "failing", one, two)
    tt("task", "complete", one)
    tt("task", "fail", two, "--reason", "no licence")
    result = tt.json("group", "status", "failing")
    assert (result["state"], result["failing"]) == ("open", [two])
    assert f"{two} blocks completion: failed, no licence" in tt("group", "status", "failing").out
    answer = tt("group", "watch", "failing", "--json", code=1)
    assert answer.error["code"] == "group_stuck"
    assert tt("group", "close", "failing", "--json", code=4).error["code"] == "needs_force"
    assert tt.json("group", "close", "failing", "--force", "--reason", "enough")["state"] == "closed"
    assert "failing" not in [each["name"] for each in tt.json("group", "list")["groups"]]
    assert "failing" in [each["name"] for each in tt.json("group", "list", "--all")["groups"]]


def test_members_come_and_go(tt: Any) -> None:
    one, two, three = (add(tt, text) for text in ("a", "b", "c"))
    tt("group", "create", "moving", one)
    assert tt.json("group", "add", "moving", two, three, one)["total"] == 3
    assert [m["task_id"] for m in tt.json("group", "remove", "moving", two[:8])["members"]] == [one, three]
    assert "expected a task of group moving" in tt("group", "remove", "moving", two, code=2).err


def test_a_dry_run_shows_the_waves_and_makes_nothing(tt: Any) -> None:
    one = add(tt, "a")
    two = add(tt, "b", "--needs", one)
    three = add(tt, "c", "--needs", one)
    four = add(tt, "d", "--needs", f"{two},{three}")
    result = tt.json("group", "create", "waves", four, three, two, one, "--dry-run")
    assert result["waves"] == [[one], [three, two], [four]]
    tt("group", "status", "waves", code=3)


def test_nothing_is_overwritten(tt: Any) -> None:
    tt("group", "create", "kept", add(tt, "a"))
    assert tt("group", "create", "kept", "--json", code=4).error["code"] == "exists"
    assert tt.json("group", "close", "kept", "--force", "--forget")["state"] == "forgotten"
    tt("group", "create", "kept")


@pytest.mark.parametrize("name", ["", "../x", "-x\x1b[2J"])
def test_a_name_that_is_none_is_refused(tt: Any, name: str) -> None:
    assert tt("group", "create", "--", name, code=2).err.startswith("error: expected a group's name")


def test_what_is_not_there_is_said(tt: Any) -> None:
    assert "no group called 'nope'" in tt("group", "status", "nope", code=3).err
    assert "no task" in tt("group", "create", "missing", "nope", code=3).err
    tt("group", "status", "missing", code=3)
    assert "no agent called" in tt("group", "create", "missing", "--owner", "nobody", code=3).err


def test_watching_ends_when_the_time_is_over(tt: Any) -> None:
    tt("group", "create", "late", add(tt, "a"))
    assert tt("group", "watch", "late", "--timeout", "0.2", "--json", code=1).error["code"] == "timeout"
