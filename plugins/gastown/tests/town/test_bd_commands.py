"""The commands of ``tt-bd`` that agents' prompts use, as bd answers them: what was compared with the real program."""

from __future__ import annotations

import json
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tinytown_gastown.bd.program import COMMANDS

from .test_bd import Bd, bd

__all__ = ["bd"]


def ids(issues: list[dict[str, Any]]) -> list[str]:
    return [issue["id"] for issue in issues]


def test_a_new_issue_takes_all_that_bd_takes(bd: Bd, tmp_path: Path) -> None:
    epic = bd.new("epic", "-t", "epic", "-l", "proj")
    (tmp_path / "body").write_text("from a file\n")
    child = bd.new(
        "child", "--parent", epic, "--label", "own", "--body-file", str(tmp_path / "body"), "--due", "+1d", "--defer", "tomorrow",
        "--estimate", "30", "--spec-id", "docs/x.md", "--metadata", '{"n": 3}', "-t", "feat",
    )  # fmt: skip
    (shown,) = bd.json("show", child)
    assert shown["labels"] == ["own", "proj"], "children inherit labels"
    assert (shown["description"], shown["estimated_minutes"], shown["spec_id"]) == ("from a file\n", 30, "docs/x.md")
    assert (shown["status"], shown["issue_type"], shown["metadata"]["n"]) == ("deferred", "feature", 3)
    assert shown["due_at"] > shown["created_at"]
    assert shown["defer_until"].endswith("T00:00:00Z")
    assert bd.json("show", bd.new("bare", "--parent", epic, "--no-inherit-labels"))[0].get("labels") is None
    before = bd.json("count")["count"]
    assert bd.json("create", "only a preview", "--dry-run")["id"] == ""
    assert bd.json("count")["count"] == before
    waiting = bd.new("waits", "--waits-for", epic)
    assert bd.json("dep", "list", waiting)[0]["dependency_type"] == "waits-for"
    record = next(each for each in map(json.loads, bd("export").splitlines()) if each.get("id") == waiting)
    assert record["dependencies"][0]["metadata"] == '{"gate":"all-children"}'


def test_what_bd_refuses_is_refused_when_it_is_typed(bd: Bd) -> None:
    assert "invalid issue type" in bd.json("create", "x", "-t", "foo", code=1)["error"]
    id_ = bd.new("typed")
    assert "invalid status" in bd.json("update", id_, "--status", "foo", code=1)["error"]
    assert bd.json("show", "nope", code=1)["error"].startswith("no issue found")
    assert "cannot depend on itself" in bd.json("dep", "add", id_, id_, code=1)["error"]
    bd("config", "set", "types.custom", "foo,bar")
    assert bd.json("create", "y", "-t", "foo")["issue_type"] == "foo"
    assert bd.json("config", "get", "types.custom")["value"] == "foo,bar"
    bd("config", "unset", "types.custom")
    bd("config", "set", "status.custom", "review:wip")
    bd("update", id_, "--status", "review")
    assert "invalid time" in bd.json("update", id_, "--due", "whenever", code=1)["error"]


def test_an_update_takes_all_that_bd_takes(bd: Bd) -> None:
    parent, id_ = bd.new("above"), bd.new("changed", "-l", "a,b")
    (shown,) = bd.json(
        "update", id_, "--set-labels", "c,d", "--parent", parent, "--estimate", "5", "--due", "2099-01-01", "--spec-id", "s",
        "--set-metadata", "n=3", "--set-metadata", "b=true", "--set-metadata", "s=1.0.0",
    )  # fmt: skip
    assert (shown["labels"], shown["parent"], shown["estimated_minutes"]) == (["c", "d"], parent, 5)
    assert (shown["due_at"], shown["spec_id"]) == ("2099-01-01T00:00:00Z", "s")
    assert {key: shown["metadata"][key] for key in "nbs"} == {"n": 3, "b": True, "s": "1.0.0"}
    (shown,) = bd.json("update", id_, "--unset-metadata", "n", "--parent", "", "--due", "", "--defer", "+3d")
    assert ("n" in shown["metadata"], shown.get("parent"), shown.get("due_at")) == (False, None, None)
    assert shown["status"] == "deferred"
    assert bd.json("update", id_, "--defer", "")[0]["status"] == "open"
    bd("update", id_, "--metadata", '{"q": 1}', "--set-metadata", "n=1", code=1)
    assert "cannot combine" in bd.err
    assert bd.json("assign", id_, "bob")["id"] == id_
    bd("priority", id_, "0")
    bd("tag", id_, "late")
    bd("note", id_, "seen")
    (shown,) = bd.json("show", id_)
    assert (shown["assignee"], shown["priority"], shown["notes"]) == ("bob", 0, "seen")
    assert "late" in shown["labels"]


def test_lists_take_the_filters_of_bd(bd: Bd) -> None:
    one = bd.new("find alpha", "-l", "f1,f2", "-p", "0", "-d", "a red fox")
    two = bd.new("find beta", "-l", "f1,f3", "-p", "3", "-a", "zoe")
    everywhere = ("--label", "f1")
    for words, expected in [
        (("--title-contains", "ALPHA"), [one]),
        (("--desc-contains", "fox"), [one]),
        (("--empty-description", "--priority-min", "1"), [two]),
        (("--priority-max", "P1"), [one]),
        (("--no-assignee",), [one]),
        (("-a", "shop/polecats/zoe"), [two]),
        (("--label-any", "f3,f9"), [two]),
        (("--label-pattern", "f2*"), [one]),
        (("--exclude-label", "f3"), [one]),
        (("--created-after", "2020-01-01", "--sort", "title"), [one, two]),
        (("--updated-before", "2020-01-01"), []),
        (("--sort", "priority", "--reverse"), [two, one]),
        (("--id", f"{one},{two}", "--exclude-type", "bug"), [one, two]),
        (("--ready",), [one, two]),
    ]:
        assert ids(bd.json("list", *everywhere, *words)) == expected, words
    assert ids(bd.json("search", "find", "--label", "f1", "--sort", "title")) == [one, two]
    bd("close", one, "-m", "done")
    assert ids(bd.json("search", "find", "--label", "f1")) == [two], "closed ones need a status"
    assert ids(bd.json("search", "find", "--label", "f1", "--status", "all", "--sort", "title")) == [one, two]
    assert ids(bd.json("query", "label=f1 AND (priority<=1 OR assignee=zoe)")) == [two]
    assert ids(bd.json("query", "label=f1 and not status=closed")) == [two]
    assert ids(bd.json("query", "label=f1 AND created>7d", "--all", "--sort", "title")) == [one, two]
    bd("query", "priority ~ 1", code=1)
    assert bd.json("count", "--label", "f1", "--by-status") == {
        "total": 2, "groups": [{"group": "closed", "count": 1}, {"group": "open", "count": 1}], "schema_version": 1,
    }  # fmt: skip
    assert {"label": "f1", "count": 2} in bd.json("label", "list-all")
    assert bd.json("stale", "--days", "1") == []


def test_an_issue_for_people_has_headings_and_neighbours(bd: Bd) -> None:
    epic = bd.new("tall", "-t", "epic", "-d", "what it is")
    child = bd.new("small", "--parent", epic, "-l", "x")
    needed = bd.new("first", "--due", "2099-01-01")
    bd("dep", "add", child, "--blocked-by", needed)
    bd("comment", child, "a word")
    text = bd("show", child)
    for part in ("LABELS: x", "PARENT", "DEPENDS ON", "COMMENTS", "a word", f"→ ○ {needed}"):
        assert part in text
    text = bd("show", epic)
    assert "CHILDREN" in text
    assert "0/1 complete (0%)" in text
    assert "Due: 2099-01-01" in bd("show", needed)
    assert ids(bd.json("show", epic, "--children")[epic]) == [child] == ids(bd.json("children", epic))
    assert ids(bd.json("show", needed, "--refs")[needed]) == [child]
    assert f"└── ○ {child}" in bd("list", "--tree", "--id", f"{epic},{child}")
    assert ids(bd.json("dep", "list", needed, "--direction", "up", "--type", "blocks")) == [child]
    assert [(row["id"], row["depth"]) for row in bd.json("dep", "tree", needed, "--reverse")] == [
        (needed, 0),
        (child, 1),
    ]
    explained = bd.json("ready", "--explain", "--limit", "0")
    assert {"id": needed, "title": "first", "status": "open", "priority": 2} in [
        by for row in explained["blocked"] for by in row["blocked_by"]
    ]
    assert bd.json("ready", "--parent", epic) == []
    assert bd.json("stats")["summary"].keys() >= {
        "pinned_issues",
        "epics_eligible_for_closure",
        "average_lead_time_hours",
    }


def test_closing_shows_what_comes_next(bd: Bd) -> None:
    first, second = bd.new("one"), bd.new("two")
    bd("dep", "add", second, first)
    answer = bd.json("close", first, "--reason", "fine", "--suggest-next")
    assert (ids(answer["closed"]), ids(answer["unblocked"])) == ([first], [second])
    epic = bd.new("group", "-t", "epic")
    child = bd.new("part", "--parent", epic)
    bd("close", child)
    (row,) = [row for row in bd.json("epic", "status") if row["epic"]["id"] == epic]
    assert (row["closed_children"], row["eligible_for_close"]) == (1, True)
    assert epic in bd.json("epic", "close-eligible")["closed"]
    bd("defer", second, "--until", "+2d")
    assert bd.json("show", second)[0]["status"] == "deferred"
    bd("undefer", second)
    other = bd.new("again")
    bd("duplicate", other, "--of", second)
    assert bd.json("show", other)[0]["status"] == "closed"
    bd("delete", other)
    assert bd.json("show", other)
    assert bd.json("delete", other, "--force")["deleted"] == other
    bd("show", other, code=1)
    bd("set-state", second, "mood=good")
    assert bd.json("state", second, "mood")["value"] == "good"


def test_a_wisp_is_worked_through_and_leaves_a_digest(bd: Bd, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = len(bd.shell.json("task", "list")["tasks"])
    made = bd.json("mol", "wisp", "feature", "--var", "feature=x", "--actor", "ann")
    root = made["new_epic_id"]
    assert made["phase"] == "vapor"
    assert len(bd.shell.json("task", "list")["tasks"]) == tasks, "its steps are no tasks"
    steps = [step for step in made["id_mapping"].values() if step != root]
    assert list(made["id_mapping"])[:2] == ["feature", "feature.design"]
    assert [row["type"] for row in bd.json("mol", "wisp", "list")["wisps"] if row["id"] == root] == ["molecule"]
    (position,) = bd.json("mol", "current", root)
    assert [row["status"] for row in position["steps"]][:2] == ["ready", "blocked"]
    assert ids(bd.json("ready", "--mol", root)) == [steps[0]]
    bd("update", steps[0], "--claim", "--actor", "ann")
    assert bd.json("mol", "current", root)[0]["current_step"]["id"] == steps[0]
    assert root in [row["molecule_id"] for row in bd.json("mol", "current", "--for", "ann")]
    answer = bd.json("close", steps[0], "--continue")
    assert answer["continue"]["id"] == steps[1]
    bd("comment", steps[1], "a remark")
    bd("label", "add", steps[1], "odd:label")
    bd("update", steps[1], "--append-notes", "half way", "--title", "renamed")
    (shown,) = bd.json("show", steps[1])
    assert (shown["title"], shown["notes"], shown["labels"], shown["comment_count"]) == (
        "renamed",
        "half way",
        ["odd:label"],
        1,
    )
    assert root not in bd("export")
    squashed = bd.json("mol", "squash", root, "--summary", "all quiet")
    assert squashed["squashed_count"] == len(steps)
    assert bd.json("show", squashed["digest_id"])[0]["description"] == "all quiet"
    bd("show", root, code=1)
    again = bd.json("mol", "wisp", "create", "feature", "--var", "feature=x", "--root-only")["new_epic_id"]
    assert bd.json("mol", "burn", again, "--force")["deleted_ids"] == [again]
    patrol = bd.new("patrol", "--ephemeral", "--wisp-type", "patrol")
    assert patrol not in ids(bd.json("ready", "--limit", "0"))
    assert patrol in ids(bd.json("list", "--wisp-type", "patrol"))


def test_a_poured_molecule_is_tasks_of_the_town(bd: Bd) -> None:
    made = bd.json("mol", "pour", "feature", "--var", "feature=a flag")
    root = made["new_epic_id"]
    assert made["phase"] == "liquid"
    assert root in ids(bd.json("mol", "list"))
    shown = bd.json("mol", "show", root)
    assert len(shown["issues"]) == made["created"]
    first = bd.json("mol", "current", root)[0]["next_step"]["id"]
    assert bd.shell.json("task", "show", first)["state"] == "pending"
    bd("close", first, "-r", "designed")
    assert bd.json("mol", "progress", root)["completed"] == 1
    cooked, shown = bd.json("cook", "feature", "--dry-run"), bd.json("formula", "show", "feature")
    assert (cooked["proto_id"], cooked["vars"], cooked["version"]) == ("feature", shown["vars"], shown["version"])
    assert ("feature", len(shown["vars"])) in [(row["name"], row["vars"]) for row in bd.json("formula", "list")]
    bd("cook", "no-such-formula", code=1)


def test_gates_hold_work_until_they_are_resolved(bd: Bd) -> None:
    id_ = bd.new("gated")
    gate = bd.json("gate", "create", "--type", "human", "--reason", "a look", "--blocks", id_)["id"]
    assert gate in ids(bd.json("gate", "list"))
    assert id_ not in ids(bd.json("ready", "--limit", "0"))
    bd("gate", "resolve", gate, "--reason", "looked")
    assert id_ in ids(bd.json("ready", "--limit", "0"))
    timer = bd.json("gate", "create", "--type", "timer", "--timeout", "1s", "--blocks", id_)["id"]
    assert bd.json("gate", "check", "--dry-run")["checked"] >= 1
    bd("gate", "close", id_, code=1)
    assert "is not a gate" in bd.err
    assert bd.json("gate", "show", timer)["await_type"] == "timer"


def test_memories_values_and_the_merge_slot(bd: Bd) -> None:
    assert bd.json("remember", "use make first", "--key", "make")["action"] == "remembered"
    assert bd.json("remember", "use ninja first", "--key", "make")["action"] == "updated"
    assert bd.json("recall", "make") == {"found": True, "key": "make", "value": "use ninja first", "schema_version": 1}
    assert bd.json("memories", "ninja")["make"] == "use ninja first"
    assert "use ninja first" in bd("prime")
    assert "use ninja first" in bd.shell("recall").out
    bd("forget", "make")
    assert bd.json("recall", "make")["found"] is False
    bd("kv", "set", "a", "b")
    assert bd.json("kv", "get", "a")["value"] == "b"
    assert bd.json("kv", "list")["a"] == "b"
    assert bd.json("merge-slot", "acquire", "--holder", "ann")["acquired"] is True
    assert bd.json("merge-slot", "acquire", "--holder", "bob", "--wait", code=1)["holder"] == "ann"
    assert bd.json("merge-slot", "check")["waiters"] == ["bob"]
    bd("merge-slot", "release", "--holder", "bob", code=1)
    assert bd.json("merge-slot", "release", "--holder", "ann")["released"] is True
    assert bd.json("merge-slot", "check")["available"] is True


def test_commands_with_nothing_to_do_say_so(bd: Bd) -> None:
    assert "nothing to push" in bd("dolt", "push")
    assert bd.json("dolt", "pull", "--force")["status"] == "skipped"
    assert "tt doctor" in bd("doctor", "--fix")
    assert bd.json("version")["version"] == "1.0.5"
    assert bd.json("where")["prefix"]
    assert "Usage: tt-bd show" in bd("help", "show")
    assert bd.json("prime", "--hook-json")["hookSpecificOutput"]["hookEventName"] == "SessionStart"


def test_the_manual_lists_what_is_answered(bd: Bd) -> None:
    from tinytown_gastown.bd.answers import table_lines

    page = Path(__file__).parents[4] / "docs" / "reference" / "bd.md"
    if not page.is_file():
        pytest.skip("the manual is not here")
    assert "\n".join(table_lines()) in page.read_text(), "run python -m tinytown_gastown.bd.answers"
    assert all(f"| `{name}" in page.read_text() for name in COMMANDS)


def test_a_gate_is_described_in_one_word_and_a_tree_drawn_as_a_chart(bd: Bd) -> None:
    waiting = bd.new("waits", "--rig", "shop")
    gate = bd.json("gate", "create", "--await", "gh:run:123", "--blocks", waiting, "--timeout", "4h")["id"]
    (shown,) = bd.json("show", gate)
    assert (shown["await_type"], shown["await_id"]) == ("gh:run", "123")
    human = bd.json("gate", "create", "--await", "human:deploy", "--title", 'Approve "it" <now>')["id"]
    assert (bd.json("show", human)[0]["await_type"], bd.json("show", human)[0]["await_id"]) == ("human", "deploy")
    bd("dep", "add", waiting, human)
    chart = bd("dep", "tree", waiting, "--format", "mermaid").splitlines()
    assert chart[0] == "flowchart TD"
    assert f'  n0["{waiting}: waits"]' in chart
    assert any("Approve #quot;it#quot; #lt;now#gt;" in line for line in chart)
    assert sorted(line for line in chart if "-->" in line) == ["  n0 --> n1", "  n0 --> n2"]
    bd("gate", "approve", human, "--comment", "reviewed")
    assert bd.json("show", human)[0]["close_reason"] == "reviewed"


def test_worktrees_are_made_listed_and_removed(bd: Bd) -> None:
    run = partial(subprocess.run, cwd=bd.shell.directory, check=True, capture_output=True)
    run(["git", "init", "-q", "-b", "main"])
    run(["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "begin"])
    made = bd.json("worktree", "create", "trees/login", "--branch", "feature/login")
    assert made["branch"] == "feature/login"
    assert {each["branch"] for each in bd.json("worktree", "list")} == {"main", "feature/login"}
    task = bd.new("seen from there")
    assert bd.json("worktree", "info", "-C", made["path"])["branch"] == "feature/login"
    (shown,) = bd.json("show", task, "-C", made["path"])  # the town of the project is that of its worktrees
    assert shown["id"] == task
    (Path(made["path"]) / "work").write_text("not committed")
    assert "git worktree failed" in bd.json("worktree", "remove", "trees/login", code=1)["error"]
    assert "git worktree failed" in bd.json("worktree", "create", "trees/other", "--branch", "main", code=1)["error"]
    bd("worktree", "remove", "trees/login", "--force")
    assert [each["branch"] for each in bd.json("worktree", "list")] == ["main"]


def test_calls_of_models_and_tools_are_events(bd: Bd) -> None:
    call = bd.json(
        "audit", "record", "--kind", "tool_call", "--tool-name", "go test", "--exit-code", "1", "--error", "x"
    )["id"]
    bd("audit", "label", call, "--label", "bad", "--reason", "wrong directory")
    events = [json.loads(line) for line in bd.shell("events", "--limit", "5", "--json").out.splitlines()]
    said = next(event for event in events if event["type"] == "bd_interaction")
    assert (said["interaction"], said["tool"], said["exit_code"]) == (call, "go test", "1")
    assert any(event["type"] == "bd_interaction_labelled" and event["about"] == call for event in events)
    assert "--kind is required" in bd.json("audit", "record", code=1)["error"]


def test_an_update_without_an_id_is_of_the_task_in_hand(bd: Bd) -> None:
    assert "no issue ID provided" in bd.json("update", "--status", "open", code=1)["error"]


def test_texts_that_lack_a_section_are_named_and_nothing_was_compacted(bd: Bd) -> None:
    bug = bd.new("crash", "-t", "bug", "-d", "## Steps to Reproduce\nstart it")
    done = bd.new("done", "--acceptance", "it works", "-d", "text")
    bd("lint", bug, done, code=1)
    found = bd.json("lint", bug, done)
    assert [(row["id"], row["missing"]) for row in found["results"]] == [(bug, ["## Acceptance Criteria"])]
    assert bd("lint", done).startswith("✓")
    assert bd.json("restore", bug)[0]["description"] == "## Steps to Reproduce\nstart it"
    assert bd("query").startswith("Usage: ")
