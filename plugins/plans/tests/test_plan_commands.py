"""``tt plan`` and ``tt sync`` as a person types them, with a real town."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tinytown_testing.shell import Shell

PLAN = """\
# What we want by Friday.

[meta]
description = "a word counter"
default_agent = "worker"

[[tasks]]
id = "docs"          # last, on purpose
title = "The manual"
description = "describe it"
needs = ["count"]
agent = "rita"

[[tasks]]
id = "count"
description = '''
count words,
and "quotes"
'''
tags = ["core"]
priority = "high"

[[tasks]]
id = "logo"
description = "draw one"
agent = ""
role = "artist"
parent = "count"

[[tasks]]
id = "names"
description = "find a name"
status = "completed"
"""


@pytest.fixture
def town(tt: Shell) -> Shell:
    """A town with a plan and the two agents that it names."""
    tt("init")
    for name in ("worker", "rita"):
        tt("spawn", name)
    (tt.directory / "tasks.toml").write_text(PLAN)
    return tt


def plan_file(town: Shell) -> Path:
    return town.directory / "tasks.toml"


def change(town: Shell, *pairs: tuple[str, str]) -> None:
    text = plan_file(town).read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    plan_file(town).write_text(text)


def sync(town: Shell, *words: str) -> dict[str, tuple[str, list[str]]]:
    """What a sync reports of each task: outcome and changes."""
    answer = town("sync", *words, "--json").json
    tasks = {task["id"]: (task["outcome"], task["changes"]) for task in answer["tasks"]}
    for outcome in ("created", "updated", "unchanged", "skipped"):
        assert answer[outcome] == sum(other == outcome for other, _ in tasks.values())
    return tasks


def task(town: Shell, id_: str) -> dict[str, Any]:
    return town("task", "show", id_, "--json").json


def everything(town: Shell) -> Any:
    """All tasks and all mail, as they are."""
    tasks = sorted(town("task", "list", "--json").json["tasks"], key=lambda item: item["id"])
    return tasks, [town("inbox", name, "--json").json for name in ("worker", "rita")]


UNCHANGED: tuple[str, list[str]] = ("unchanged", [])


def test_init_writes_an_example_and_overwrites_nothing(tt: Shell) -> None:
    tt("init")
    tt("plan", code=3)
    assert "tt plan --init" in tt("plan", code=3).err
    tt("plan", "--init")
    (tt.directory / "tasks.toml").write_text(PLAN)
    assert "is not overwritten" in tt("plan", "--init", code=4).err
    assert plan_file(tt).read_text() == PLAN
    plan_file(tt).unlink()
    plan_file(tt).symlink_to(tt.directory / "elsewhere.toml")
    tt("plan", "--init", code=4)
    assert not (tt.directory / "elsewhere.toml").exists()


def test_the_plan_is_shown_in_stages(town: Shell) -> None:
    shown = town("plan", "--json").json
    assert shown["stages"] == [["count", "logo", "names"], ["docs"]]
    assert shown["waves"] == shown["stages"], "the old name"
    agents = {item["id"]: item["agent"] for item in shown["tasks"]}
    assert agents == {"docs": "rita", "count": "worker", "logo": None, "names": "worker"}
    lines = town("plan").out.splitlines()
    assert lines[0] == "a word counter"
    assert [line.split()[:2] for line in lines[3:]] == [["1", "count"], ["1", "logo"], ["1", "names"], ["2", "docs"]]


def test_a_plan_that_is_named_needs_no_town(tt: Shell) -> None:
    below = tt.directory / "sub" / "plans"
    below.mkdir(parents=True)
    tt("plan", code=3)
    tt("plan", "--init", "--file", "sub/plans/release.toml")
    assert tt("plan", "-f", "release.toml", "--json", cwd=below).json["stages"] == [["first"], ["second"]]
    tt("plan", "--init", "--file", "no/such/place.toml", code=1)


def test_a_push_creates_the_tasks_and_repeating_it_changes_nothing(town: Shell) -> None:
    assert {outcome for outcome, _ in sync(town).values()} == {"created"}
    docs, count, logo, names = (task(town, id_) for id_ in ("docs", "count", "logo", "names"))
    assert (docs["state"], docs["assigned_to"], docs["needs"], docs["title"]) == (
        "blocked",
        "rita",
        ["count"],
        "The manual",
    )
    assert (count["state"], count["assigned_to"], count["tags"], count["priority"]) == (
        "assigned",
        "worker",
        ["core"],
        "high",
    )
    assert count["description"] == 'count words,\nand "quotes"\n'
    assert (logo["state"], logo["assigned_to"], logo["role"], logo["parent"]) == ("pending", None, "artist", "count")
    assert (names["state"], names["assigned_to"]) == ("completed", None)
    assert [mail["task_id"] for mail in town("inbox", "worker", "--json").json["messages"]] == ["count"]
    before = everything(town)
    for _ in range(3):
        assert set(map(str, sync(town).values())) == {str(UNCHANGED)}
    assert everything(town) == before


def test_a_push_starts_the_kernel(town: Shell) -> None:
    environment = {"TINYTOWN_NO_KERNEL": ""}
    assert "started the kernel" not in town("sync", "--dry-run", env=environment).err
    assert "no kernel is running" in town("sync", "--no-start", env=environment).err
    change(town, ('agent = ""', 'agent = "worker"'))
    assert "started the kernel" in town("sync", "push", env=environment).err
    town("stop")


def test_changes_in_the_plan_are_pushed(town: Shell) -> None:
    sync(town)
    change(
        town,
        ('"The manual"', '"A manual"'),
        ("count words,", "count letters,"),
        ('["core"]', '["core", "fast"]'),
        ('priority = "high"', 'priority = "urgent"'),
        ('agent = ""', 'agent = "rita"'),
        ('needs = ["count"]', 'needs = ["count", "logo", "size"]'),
    )
    plan_file(town).write_text(plan_file(town).read_text() + '\n[[tasks]]\nid = "size"\ndescription = "measure"\n')
    assert sync(town) == {
        "docs": ("updated", ["title", "needs"]),
        "count": ("updated", ["description", "priority", "tags"]),
        "logo": ("updated", ["agent"]),
        "names": UNCHANGED,
        "size": ("created", []),
    }
    assert task(town, "docs")["open_needs"] == ["count", "logo", "size"]
    assert task(town, "count")["description"].startswith("count letters")
    assert task(town, "logo")["assigned_to"] == "rita"
    change(town, ('needs = ["count", "logo", "size"]', ""))
    assert sync(town)["docs"] == ("updated", ["needs"])
    assert task(town, "docs")["state"] == "assigned"
    assert set(map(str, sync(town).values())) == {str(UNCHANGED)}


def test_forward_references_and_reversed_needs_are_pushed(town: Shell) -> None:
    chain = "".join(
        f'[[tasks]]\nid = "t{number}"\ndescription = "x"\nneeds = ["t{number + 1}"]\nagent = ""\n'
        for number in range(250)
    )
    plan_file(town).write_text(chain + '[[tasks]]\nid = "t250"\ndescription = "x"\nagent = ""\n')
    assert town("sync", "--json").json["created"] == 251
    turned = "".join(
        f'[[tasks]]\nid = "t{number + 1}"\ndescription = "x"\nneeds = ["t{number}"]\nagent = ""\n'
        for number in range(250)
    )
    plan_file(town).write_text(turned + '[[tasks]]\nid = "t0"\ndescription = "x"\nagent = ""\n')
    assert town("sync", "--json").json["updated"] == 251
    assert [item["id"] for item in town("backlog", "list", "--json").json["tasks"]] == ["t0"]


def test_a_pull_writes_progress_and_leaves_every_other_character(town: Shell) -> None:
    sync(town)
    town("task", "complete", "count")
    town("backlog", "claim", "logo", "worker")
    assert sync(town, "pull", "--dry-run")["count"] == ("updated", ["status"])
    assert plan_file(town).read_text() == PLAN
    assert sync(town, "pull") == {
        "docs": ("updated", ["status"]),
        "count": ("updated", ["status"]),
        "logo": ("updated", ["status", "agent"]),
        "names": UNCHANGED,
    }
    after = plan_file(town).read_text()
    assert after == (
        PLAN.replace('agent = "rita"\n', 'agent = "rita"\nstatus = "assigned"\n')
        .replace('priority = "high"\n', 'priority = "high"\nstatus = "completed"\n')
        .replace('agent = ""\nrole', 'agent = "worker"\nrole')
        .replace('parent = "count"\n', 'parent = "count"\nstatus = "assigned"\n')
    )
    assert set(map(str, sync(town, "pull").values())) == {str(UNCHANGED)}
    assert set(map(str, sync(town, "push").values())) == {str(UNCHANGED)}
    assert plan_file(town).read_text() == after


def test_a_dry_run_reports_what_the_real_run_does_and_changes_nothing(town: Shell) -> None:
    dry = sync(town, "push", "--dry-run")
    assert town("task", "list", "--json").json["tasks"] == []
    assert sync(town, "push") == dry
    change(town, ("draw one", "draw two"), ('agent = "rita"', 'agent = "worker"'))
    before = everything(town)
    dry = sync(town, "-n")
    assert dry["logo"] == ("updated", ["description"])
    assert everything(town) == before
    assert "nothing was changed" in town("sync", "push", "-n").out
    assert sync(town) == dry


def test_an_outdated_plan_does_not_complete_a_reopened_task(town: Shell) -> None:
    sync(town)
    town("task", "complete", "count")
    sync(town, "pull")
    town("task", "reopen", "count")
    skipped = town("sync", "--json").json["tasks"]
    assert [item["reason"] for item in skipped if item["id"] == "count"] == [
        "it was reopened in the town; tt sync pull updates the plan"
    ]
    assert task(town, "count")["state"] == "assigned"
    assert sync(town, "pull")["count"] == ("updated", ["status"])


def test_a_person_may_settle_a_task_in_the_plan(town: Shell) -> None:
    sync(town)
    change(town, ('priority = "high"', 'priority = "high"\nstatus = "completed"'))
    assert sync(town, "pull")["count"] == ("skipped", []), "a pull keeps what was not pushed"
    assert 'status = "completed"\n\n[[tasks]]\nid = "logo"' in plan_file(town).read_text()
    assert sync(town, "push")["count"] == ("updated", ["status"])
    assert task(town, "count")["state"] == "completed"
    assert task(town, "docs")["state"] == "assigned"


def test_a_plan_holds_tasks_and_the_last_change_wins(town: Shell) -> None:
    change(town, ('agent = ""', 'agent = ""\nheld = "ask ann"\nheld_until = "2100-01-01T00:00:00Z"'))
    sync(town)
    assert (task(town, "logo")["state"], task(town, "logo")["reason"]) == ("blocked", "held: ask ann")
    assert sync(town) == dict.fromkeys(("count", "docs", "logo", "names"), UNCHANGED)
    town("task", "release", "logo")
    assert sync(town)["logo"] == UNCHANGED, "the plan has not changed"
    sync(town, "pull")
    assert 'held = ""' in plan_file(town).read_text()
    change(town, ('held = ""', 'held = "ask ben"'))
    assert sync(town, "pull")["logo"] == ("skipped", [])
    assert sync(town)["logo"] == ("updated", ["held"])
    assert task(town, "logo")["held"] == "ask ben"
    change(town, ('held = "ask ben"', 'held = ""'))
    assert sync(town)["logo"] == ("updated", ["held"])
    assert task(town, "logo")["state"] == "pending"


def test_a_finished_task_is_not_changed_and_the_reason_is_reported(town: Shell) -> None:
    sync(town)
    town("task", "complete", "count")
    change(town, ("count words", "count bytes"))
    answer = town("sync")
    assert "1 skipped" in answer.out
    assert "it is completed: description not changed" in answer.out
    assert "words" in task(town, "count")["description"]


def test_a_pull_can_add_tasks_that_did_not_come_from_the_plan(town: Shell) -> None:
    sync(town)
    extra = town("backlog", "add", "write\nit down", "--needs", "count", "--tags", "x", "--json").json["task_id"]
    assert extra not in sync(town, "pull")
    assert sync(town, "pull", "--new")[extra] == ("created", [])
    entry = next(item for item in town("plan", "--json").json["tasks"] if item["id"] == extra)
    assert (entry["description"], entry["needs"], entry["tags"], entry["status"], entry["agent"]) == (
        "write\nit down",
        ["count"],
        ["x"],
        "blocked",
        None,
    )
    assert set(map(str, sync(town, "push").values())) == {str(UNCHANGED)}
    town("sync", "push", "--new", code=2)


def test_nothing_is_pushed_if_an_agent_is_missing_or_stopped(town: Shell) -> None:
    change(town, ('agent = "rita"', 'agent = "zed"'))
    error = town("sync", "--json", code=3).error
    assert "'zed'" in error["message"]
    assert "tt spawn zed" in error["hint"]
    change(town, ('agent = "zed"', 'agent = "rita"'))
    town("kill", "rita")
    assert "tt resume rita" in town("sync", "--json", code=4).error["hint"]
    assert town("task", "list", "--json").json["tasks"] == []
    town("resume", "rita", "--no-start")
    sync(town)
    town("kill", "rita")
    assert sync(town)["count"] == UNCHANGED, "an assigned task needs no check"


def test_a_plan_in_another_directory_is_pushed_from_there(town: Shell) -> None:
    below = town.directory / "sub"
    below.mkdir()
    shutil.move(plan_file(town), below / "plan.toml")
    assert town("sync", "push", "-f", "plan.toml", "--json", cwd=below).json["created"] == 4
    assert town("sync", "pull", "-f", "sub/plan.toml", "--json").json["updated"] == 2
    assert 'status = "assigned"' in (below / "plan.toml").read_text()


def test_a_pull_keeps_links_modes_and_line_ends(town: Shell) -> None:
    sync(town)
    real = town.directory / "real.toml"
    real.write_bytes(PLAN.replace("\n", "\r\n").encode())
    real.chmod(0o640)
    plan_file(town).unlink()
    plan_file(town).symlink_to("real.toml")
    sync(town, "pull")
    assert plan_file(town).is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert b'\r\nstatus = "assigned"\r\n' in real.read_bytes()
    assert b"\n" not in real.read_bytes().replace(b"\r\n", b"")
    assert [path.name for path in town.directory.iterdir() if path.name.startswith(".tasks")] == []


@pytest.fixture
def hostile(tt: Shell) -> Shell:
    tt("init")
    return tt


def test_files_that_are_not_plans_are_errors_of_one_line(hostile: Shell) -> None:
    tt, place = hostile, hostile.directory
    (place / "binary").write_bytes(bytes(range(256)))
    with open(place / "huge", "wb") as file:
        file.truncate(17 << 20)
    os.mkfifo(place / "pipe")
    (place / "nul").write_bytes(b"\0" * 100)
    (place / "deep").write_text("a = " + "[" * 100_000)
    (place / "loop").symlink_to("loop")
    (place / "apart").write_text('[[tasks]]\nid="a"\ndescription="x"\n[meta]\n[[tasks]]\nid="b"\ndescription="y"\n')
    for name in ("binary", "huge", "pipe", "nul", "deep", "loop", ".", "/dev/zero", "/dev/null", "x" * 5000):
        answer = tt(*(["sync", "pull"] if name in ("pipe", "nul") else ["plan"]), "--file", name, code=2)
        assert answer.err.startswith("error: ")
        assert answer.err.count("\n") == 1
        assert len(answer.err) < 600
    tt("plan", "--file", "/dev/null/x", code=3)
    tt("plan", "--file", b"\xff.toml", code=3)
    assert tt("sync", "push", "--file", "apart", "--json").json["created"] == 2
    tt("task", "complete", "a")
    assert "out of order" in tt("sync", "pull", "--file", "apart", code=1).err
    assert "status" not in (place / "apart").read_text()


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everything")
def test_a_write_protected_plan_is_not_changed(town: Shell) -> None:
    sync(town)
    plan_file(town).chmod(0o444)
    assert "write-protected" in town("sync", "pull", code=1).err


def test_a_thousand_tasks_are_pushed_and_pulled(hostile: Shell) -> None:
    text = "".join(
        f'[[tasks]]\nid = "t{number}"\ndescription = "do {number}"   # {number}\n\n' for number in range(1000)
    )
    plan_file(hostile).write_text(text)
    assert hostile("sync", "--json").json["created"] == 1000
    hostile("task", "complete", "t500")
    assert hostile("sync", "pull", "--json").json["updated"] == 1
    assert plan_file(hostile).read_text() == text.replace("# 500\n", '# 500\nstatus = "completed"\n')


def test_the_commands_import_nothing_heavy(town: Shell) -> None:
    code = (
        "import sys; from tinytown_cli.main import run; run(sys.argv[1:]);"
        "print([name for name in ('trio', 'redis', 'tomlkit') if name in sys.modules], file=sys.stderr)"
    )
    for words in (["plan"], ["sync", "push"]):
        done = subprocess.run(
            [town.argv()[0], "-c", code, *words],
            cwd=town.directory,
            env=town.variables,
            capture_output=True,
            timeout=60,
            check=True,
        )
        assert done.stderr.decode().splitlines()[-1] == "[]"
