"""``tt beads`` as a person types it: in, out, in step, and every mistake reported in a sentence."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any, Self

import pytest
from tinytown_testing.shell import Shell

from ..conftest import DOCUMENTS, HEADER, MEMORY, MOMENT, bead, document, edge


@pytest.fixture
def tt(tt: Shell) -> Shell:
    """A shell in a town of its own without a kernel."""
    tt("init", "--name", "t")
    return tt


def put(tt: Shell, content: bytes, name: str = "in.jsonl") -> Path:
    path = tt.directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def task(tt: Shell, id_: str) -> Any:
    return tt.json("task", "show", id_)


FAILED: dict[str, Any] = {"status": "closed", "closed_at": MOMENT, "close_reason": "failed: no"}

GRAPH = document(
    bead("tt-1", issue_type="bug", labels=["ui"], priority=0, description="it blinks", assignee="rig/polecats/ada"),
    bead("tt-2", dependencies=[edge("tt-2", "tt-1")]),
    bead("tt-3", status="closed", closed_at=MOMENT, close_reason="done"),
    bead("tt-4", status="deferred"),
    bead("tt-5", issue_type="agent"),
    HEADER,
    MEMORY,
)


def test_beads_become_tasks_and_a_second_time_nothing(tt: Shell) -> None:
    put(tt, GRAPH)
    first = tt.json("beads", "import", "in.jsonl")
    assert {name: first[name] for name in ("created", "updated", "unchanged", "skipped", "unmapped")} == {
        "created": 4, "updated": 0, "unchanged": 0, "skipped": 0, "unmapped": 1,
    }  # fmt: skip
    assert first["kept_kinds"] == {"agent": 1}
    one, two = task(tt, "tt-1"), task(tt, "tt-2")
    assert (one["state"], one["priority"], one["tags"]) == ("pending", "urgent", ["ui", "bug"])
    assert (two["state"], two["needs"]) == ("blocked", ["tt-1"])
    assert task(tt, "tt-3")["state"] == "completed"
    assert task(tt, "tt-4")["held"] == "deferred"
    assert json.loads(one["origin"]["record"])["description"] == "it blinks"
    again = tt.json("beads", "import", "in.jsonl")
    assert (again["created"], again["unchanged"], again["updated"]) == (0, 4, 0)
    assert task(tt, "tt-1") == one


def test_a_dry_run_says_the_same_and_writes_nothing(tt: Shell) -> None:
    put(tt, GRAPH)
    dry = tt.json("beads", "import", "in.jsonl", "--dry-run")
    assert (dry["created"], dry["unmapped"], dry["dry_run"]) == (4, 1, True)
    assert tt.json("task", "list")["tasks"] == []
    assert [path.name for path in (tt.state() / "beads").iterdir()] == ["lock"]


@pytest.mark.parametrize("name", ["every field", "rich", "dolt", "other lines", "CRLF", "odd spelling"])
def test_what_came_in_goes_out_byte_for_byte(tt: Shell, name: str) -> None:
    put(tt, DOCUMENTS[name])
    tt("beads", "import", "in.jsonl")
    tt("beads", "export", "out.jsonl")
    assert (tt.directory / "out.jsonl").read_bytes() == DOCUMENTS[name]


def test_a_bad_line_is_named_and_only_strict_stops_the_rest(tt: Shell) -> None:
    put(tt, document(bead("tt-1"), '{"id":"tt-2","title":"x","priority":9}'))
    error = tt("--json", "beads", "import", "in.jsonl", "--strict", code=2).error
    assert error["code"] == "bad_beads"
    assert "line 2: expected a priority from 0 to 4, got 9" in error["message"]
    assert tt.json("task", "list")["tasks"] == []
    assert tt.json("beads", "import", "in.jsonl", "--dry-run", code=1)["created"] == 1
    answer = tt.json("beads", "import", "in.jsonl", code=1)
    assert answer["problems"] == ["line 2: expected a priority from 0 to 4, got 9"]
    assert answer["created"] == 1
    assert tt.json("beads", "sync", "in.jsonl", code=1)["problems"] == answer["problems"]
    assert tt.json("beads", "export", "out.jsonl")["problems"] == []


def test_work_goes_to_whom_it_is_meant_for(tt: Shell) -> None:
    tt("spawn", "ada", "--cli", "shell")
    tt("spawn", "rita", "--cli", "shell")
    put(tt, GRAPH)
    tt("beads", "import", "in.jsonl", "--into", "agent=rita")
    assert (task(tt, "tt-1")["assigned_to"], task(tt, "tt-4")["assigned_to"]) == ("rita", "rita")
    put(tt, document(bead("b-1", assignee="rig/polecats/ada"), bead("b-2", assignee="nobody")), "b.jsonl")
    tt("beads", "import", "b.jsonl")
    assert (task(tt, "b-1")["assigned_to"], task(tt, "b-2")["assigned_to"]) == ("ada", None)
    put(tt, document(bead("c-1", assignee="ada")), "c.jsonl")
    tt("beads", "import", "c.jsonl", "--into", "backlog")
    assert task(tt, "c-1")["state"] == "pending"
    assert tt("--json", "beads", "import", "c.jsonl", "--into", "rita", code=2).error["code"] == "usage"
    assert tt("--json", "beads", "import", "c.jsonl", "--into", "agent=nobody", code=3).error["code"] == "not_found"


def test_what_changed_in_the_file_changes_the_task_and_what_changed_here_stays(tt: Shell) -> None:
    put(tt, document(bead("tt-1"), bead("tt-2"), bead("tt-3")))
    tt("beads", "import", "in.jsonl")
    tt("task", "complete", "tt-2", "--result", "all fine")
    put(
        tt,
        document(
            bead("tt-1", title="better", priority=0),
            bead("tt-2"),
            bead("tt-3", status="closed", close_reason="failed: no"),
        ),
    )
    answer = tt.json("beads", "import", "in.jsonl")
    assert (answer["updated"], answer["unchanged"]) == (2, 1)
    assert (task(tt, "tt-1")["title"], task(tt, "tt-1")["priority"]) == ("better", "urgent")
    assert (task(tt, "tt-2")["state"], task(tt, "tt-3")["state"]) == ("completed", "failed")
    tt("beads", "export", "in.jsonl")
    lines = [json.loads(line) for line in (tt.directory / "in.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["open", "closed", "closed"]
    assert lines[1]["close_reason"] == "all fine"


def test_a_task_that_is_no_bead_is_left_alone(tt: Shell) -> None:
    put(tt, document(bead("tt-1")), "one.jsonl")
    tt("backlog", "add", "our own work")
    (own,) = tt.json("backlog", "list")["tasks"]
    put(tt, document(bead(own["id"])))
    answer = tt.json("beads", "import", "in.jsonl", code=1)
    assert (answer["skipped"], answer["created"]) == (1, 0)
    assert answer["beads"][0]["reason"] == f"the town has a task {own['id']} that is not from this bead"
    assert task(tt, own["id"])["description"] == "our own work"


def test_no_file_of_somebody_else_is_overwritten(tt: Shell) -> None:
    put(tt, b"mine\n", "notes.jsonl")
    tt("backlog", "add", "work")
    assert tt("--json", "beads", "export", "notes.jsonl", code=4).error["code"] == "exists"
    assert (tt.directory / "notes.jsonl").read_bytes() == b"mine\n"
    tt("beads", "export", "out.jsonl")
    tt("beads", "export", "out.jsonl")
    put(tt, (tt.directory / "out.jsonl").read_bytes() + document(bead("tt-9")), "out.jsonl")
    assert tt("--json", "beads", "export", "out.jsonl", code=4).error["code"] == "changed"
    tt("beads", "export", "out.jsonl", "--force")
    assert b"tt-9" not in (tt.directory / "out.jsonl").read_bytes()


def test_our_own_tasks_go_out_and_come_back_into_another_town(tt: Shell) -> None:
    tt("backlog", "add", "first work", "--tags", "api")
    (first,) = tt.json("backlog", "list")["tasks"]
    tt("task", "fail", first["id"], "--reason", "no disk")
    answer = tt("beads", "export", "-").out
    record = json.loads(answer)
    assert (record["status"], record["close_reason"], record["labels"]) == ("closed", "failed: no disk", ["api"])
    assert record["external_ref"] == f"tinytown:{first['id']}"
    assert record["metadata"]["tinytown"]["reason"] == "no disk"


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"\0" * 1000, "invalid JSON"), (b"[" * 100_000, "nested too deeply"), (b"\xff\xfe", "not UTF-8")],
)
def test_hostile_files_are_problems_and_no_tracebacks(tt: Shell, content: bytes, reason: str) -> None:
    put(tt, content)
    (problem,) = tt.json("beads", "import", "in.jsonl", code=1)["problems"]
    assert reason in problem


def test_what_is_no_file_is_told(tt: Shell) -> None:
    assert tt("--json", "beads", "import", "absent.jsonl", code=3).error["code"] == "not_found"
    (tt.directory / "bare").mkdir()
    assert "no bead file in bare" in tt("--json", "beads", "import", "bare", code=3).error["message"]
    os.mkfifo(tt.directory / "pipe")
    assert "not a regular file" in tt("--json", "beads", "import", "pipe", code=2).error["message"]
    assert "not a regular file" in tt("--json", "beads", "export", "bare", code=2).error["message"]
    assert "cannot write nowhere" in tt("--json", "beads", "export", "nowhere/x.jsonl", code=1).error["message"]
    put(tt, GRAPH, "repo/.beads/issues.jsonl")
    assert tt.json("beads", "import", "repo")["created"] == 4


def test_ready_work_of_a_file_and_of_the_town(tt: Shell) -> None:
    put(tt, GRAPH)
    answer = tt.json("beads", "ready", "in.jsonl", "--explain")
    assert [each["id"] for each in answer["ready"]] == ["tt-1"]
    assert {each["id"]: each["reason"] for each in answer["waiting"]}["tt-2"] == "waiting for tt-1"
    tt("beads", "import", "in.jsonl")
    assert [each["id"] for each in tt.json("beads", "ready")["ready"]] == ["tt-1"]
    tt("task", "complete", "tt-1")
    assert [each["id"] for each in tt.json("beads", "ready")["ready"]] == ["tt-2"]


# -- sync ---------------------------------------------------------------------------------------------------


def records(path: Path) -> dict[str, Any]:
    return {record["id"]: record for record in map(json.loads, path.read_text().splitlines()) if "id" in record}


def test_a_sync_takes_the_news_of_each_side_to_the_other(tt: Shell) -> None:
    path = put(tt, document(bead("tt-1", notes="n"), bead("tt-2"), HEADER), ".beads/issues.jsonl")
    tt("backlog", "add", "our own", "--tags", "api")
    first = tt.json("beads", "sync")
    assert (first["created"], first["appended"], first["file_changed"]) == (2, 1, True)
    content = path.read_bytes()
    assert tt.json("beads", "sync")["file_changed"] is False
    assert path.read_bytes() == content
    tt("task", "complete", "tt-1", "--result", "fine")
    path.write_bytes(content.replace(b"title of tt-2", b"another title"))
    answer = tt.json("beads", "sync")
    assert (answer["updated"], answer["written"], answer["conflict"]) == (1, 1, 0)
    assert task(tt, "tt-2")["title"] == "another title"
    after = records(path)
    assert (after["tt-1"]["status"], after["tt-1"]["close_reason"], after["tt-1"]["notes"]) == ("closed", "fine", "n")
    assert path.read_bytes().splitlines()[2] == HEADER.encode()


def test_what_both_changed_stays_on_both_sides_until_one_is_preferred(tt: Shell) -> None:
    path = put(tt, document(bead("tt-1"), bead("tt-2")), ".beads/issues.jsonl")
    tt("beads", "sync")
    tt("task", "complete", "tt-1", "--result", "done here")
    path.write_bytes(
        document(bead("tt-1", status="closed", closed_at=MOMENT, close_reason="wontfix", title="x"), bead("tt-2"))
    )
    for _ in range(2):
        answer = tt.json("beads", "sync", code=1)
        (row,) = [each for each in answer["beads"] if each["outcome"] == "conflict"]
        assert (row["id"], row["fields"]) == ("tt-1", ["state"])
        assert records(path)["tt-1"]["close_reason"] == "wontfix"
        assert task(tt, "tt-1")["state"] == "completed"
    assert tt.json("beads", "sync", "--prefer", "town")["conflict"] == 0
    assert records(path)["tt-1"]["close_reason"] == "done here"
    assert tt.json("beads", "sync")["conflict"] == 0


def test_what_is_missing_on_one_side_is_deleted_on_none(tt: Shell) -> None:
    path = put(tt, document(bead("tt-1"), bead("tt-2"), bead("tt-3")), ".beads/issues.jsonl")
    tt("beads", "sync")
    path.write_bytes(document(bead("tt-1")))
    tt("task", "complete", "tt-3")
    answer = tt.json("beads", "sync")
    assert (answer["missing"], answer["appended"]) == (1, 1)
    assert list(records(path)) == ["tt-1", "tt-3"]
    assert task(tt, "tt-2")["state"] == "pending"
    assert tt.json("beads", "sync")["missing"] == 1
    assert list(records(path)) == ["tt-1", "tt-3"]
    tt("reset", "--force", "--no-save")
    answer = tt.json("beads", "sync")
    assert list(records(path)) == ["tt-1", "tt-3"]
    assert (answer["created"], answer["forgotten"]) == (1, 1)


def test_a_line_of_our_own_that_was_taken_out_stays_out(tt: Shell) -> None:
    path = put(tt, document(bead("tt-1"))[:-1], ".beads/issues.jsonl")
    tt("backlog", "add", "our own")
    assert tt.json("beads", "sync")["appended"] == 1
    path.write_bytes(document(bead("tt-1"))[:-1])
    for _ in range(2):
        answer = tt.json("beads", "sync")
        assert (answer["missing"], answer["appended"], answer["file_changed"]) == (1, 0, False)
    tt("beads", "export", "all.jsonl")
    assert len(records(tt.directory / "all.jsonl")) == 2


def test_without_its_baseline_a_sync_goes_by_what_the_tasks_remember(tt: Shell) -> None:
    path = put(tt, document(bead("tt-1"), bead("tt-2")), ".beads/issues.jsonl")
    tt("beads", "sync")
    tt("task", "complete", "tt-1")
    path.write_bytes(document(bead("tt-1"), bead("tt-2", title="new")))
    for each in (tt.state() / "beads").glob("*.baseline"):
        each.unlink()
    answer = tt.json("beads", "sync")
    assert (answer["updated"], answer["written"], answer["conflict"]) == (1, 1, 0)
    assert records(path)["tt-1"]["status"] == "closed"
    assert task(tt, "tt-2")["title"] == "new"


class Watcher:
    """``tt beads sync --watch`` in a process of its own, and what it reports."""

    def __init__(self, tt: Shell) -> None:
        self.process = tt.start("beads", "sync", "--watch", "--json")

    def report(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def test_who_watches_is_told_of_both_sides(tt: Shell) -> None:
    path = put(tt, document(bead("tt-1"), bead("tt-2")), ".beads/issues.jsonl")
    with Watcher(tt) as watcher:
        assert watcher.report()["created"] == 2
        tt("task", "complete", "tt-1", "--result", "fine")
        assert watcher.report()["written"] == 1
        assert records(path)["tt-1"]["status"] == "closed"
        path.write_bytes(path.read_bytes().replace(b"title of tt-2", b"another title"))
        assert watcher.report()["updated"] == 1
        assert task(tt, "tt-2")["title"] == "another title"
        watcher.process.send_signal(signal.SIGINT)
        assert watcher.process.wait(timeout=20) == 130
