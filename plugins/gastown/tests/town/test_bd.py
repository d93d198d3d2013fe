"""``tt-bd`` as an agent that was written for beads types it: bd's words, its JSON, its way of failing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tinytown_gastown.bd.program import run


class Bd:
    """Runs command lines of ``tt-bd`` in this process, which is quicker, in the town of `shell`."""

    def __init__(self, shell: Any, capture: pytest.CaptureFixture[bytes]) -> None:
        self.shell = shell
        self.capture = capture

    def __call__(self, *words: str, code: int = 0) -> str:
        self.capture.readouterr()
        ended = run(list(words))
        out, err = self.capture.readouterr()
        self.err = err.decode()
        assert ended == code, f"{words} ended with {ended}: {out.decode()}{self.err}"
        return out.decode()

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self(*words, "--json", code=code))

    def new(self, title: str, *words: str) -> str:
        return str(self.json("create", title, *words)["id"])


@pytest.fixture
def bd(in_town: Any, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Bd:
    for name in list(os.environ):
        if name.startswith(("TINYTOWN_", "BD_", "BEADS_")):
            monkeypatch.delenv(name)
    for name in ("TINYTOWN_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, in_town.variables[name])
    monkeypatch.setenv("TINYTOWN_NO_KERNEL", "1")
    monkeypatch.chdir(in_town.directory)
    return Bd(in_town, capsysbinary)


def test_an_issue_is_made_shown_changed_and_closed(bd: Bd) -> None:
    made = bd.json(
        "create", "Fix the login", "-d", "It fails", "-t", "bug", "-p", "1", "-l", "auth,web", "--design", "as before"
    )
    id_ = made["id"]
    assert id_.startswith("shared-")
    assert made["schema_version"] == 1
    assert (made["status"], made["priority"], made["issue_type"], made["labels"]) == ("open", 1, "bug", ["auth", "web"])
    (shown,) = bd.json("show", id_)
    assert (shown["description"], shown["design"]) == ("It fails", "as before")
    (changed,) = bd.json(
        "update", id_, "--title", "Mend the login", "-p", "P4", "--append-notes", "seen twice", "--type", "feature",
        "--acceptance", "it works", "--add-label", "gt:odd label", "--remove-label", "web", "--set-metadata", "a=b",
    )  # fmt: skip
    assert (changed["title"], changed["priority"]) == ("Mend the login", 4)
    assert (changed["notes"], changed["issue_type"]) == ("seen twice", "feature")
    assert changed["acceptance_criteria"] == "it works"
    assert changed["labels"] == ["auth", "gt:odd label"]
    assert changed["metadata"]["a"] == "b"
    assert bd.shell.json("task", "show", id_)["priority"] == "low"
    (closed,) = bd.json("close", id_, "-r", "mended")
    assert (closed["status"], closed["close_reason"]) == ("closed", "mended")
    assert id_ not in [each["id"] for each in bd.json("list", "--limit", "0")]
    assert id_ in [each["id"] for each in bd.json("list", "--all", "--limit", "0")]
    assert bd.json("reopen", id_)[0]["status"] == "open"


def test_what_waits_is_not_ready_and_cannot_be_closed(bd: Bd) -> None:
    first, second = bd.new("first", "-l", "graph"), bd.new("second", "-l", "graph")
    bd("dep", "add", second, first)
    assert [each["id"] for each in bd.json("ready", "-l", "graph")] == [first]
    assert second in [each["id"] for each in bd.json("blocked")]
    (needed,) = bd.json("show", second)[0]["dependencies"]
    assert (needed["id"], needed["dependency_type"]) == (first, "blocks")
    assert bd.json("show", second)[0]["dependency_count"] == 1
    bd("close", second, code=1)
    assert "blocked by open issues" in bd.err
    assert [(each["id"], each["depth"]) for each in bd.json("dep", "tree", second)] == [(second, 0), (first, 1)]
    bd("dep", "add", first, second, code=1)
    assert "cycle" in bd.err
    bd("dep", "remove", second, first)
    assert {each["id"] for each in bd.json("ready", "-l", "graph")} == {first, second}
    assert bd.json("dep", "cycles") == []


def test_children_comments_and_labels(bd: Bd) -> None:
    epic = bd.new("epic", "-t", "epic")
    child = bd.new("child", "--parent", epic)
    assert child == f"{epic}.1"
    assert bd.json("show", child)[0]["parent"] == epic
    (listed,) = bd.json("list", "--parent", epic)
    assert (listed["id"], listed["dependencies"][0]["metadata"]) == (child, "{}")
    (whole,) = bd.json("show", epic, "--include-dependents")
    assert (whole["epic_total_children"], whole["epic_closed_children"], whole["epic_closeable"]) == (1, 0, False)
    bd("comment", child, "looks good", "--actor", "ann")
    bd("comments", "add", child, "done soon")
    assert [(each["author"], each["text"]) for each in bd.json("comments", child)] == [
        ("ann", "looks good"), ("supervisor", "done soon"),
    ]  # fmt: skip
    assert bd.json("show", child)[0]["comment_count"] == 2
    assert bd.json("label", "add", child, "later") == [{"issue_id": child, "label": "later", "status": "added"}]
    assert bd.json("label", "list", child) == ["later"]
    bd("label", "remove", child, "later")
    assert bd.json("label", "list", child) == []


def test_what_was_said_of_an_issue_stands_in_the_prompt(bd: Bd) -> None:
    bd.shell("spawn", "eve", "--cli", "echo")
    id_ = bd.new("tell all", "--design", "as a tree")
    bd("comment", id_, "mind the leaves")
    bd("update", id_, "--append-notes", "seen in spring", "--design", "as a graph", "--assignee", "eve")
    answer = bd.shell("prompt", "eve").out
    assert "mind the leaves" in answer
    assert "seen in spring" in answer
    assert "as a graph" in answer
    assert "as a tree" not in answer


def test_work_is_held_and_let_go_by_its_status(bd: Bd) -> None:
    id_ = bd.new("hold me")
    assert bd.json("update", id_, "--status", "deferred")[0]["status"] != "closed"
    assert id_ not in [each["id"] for each in bd.json("ready", "--limit", "0")]
    bd("update", id_, "--status", "open")
    assert id_ in [each["id"] for each in bd.json("ready", "--limit", "0")]
    bd("update", id_, "--status", "nonsense", code=1)
    assert "invalid status" in bd.err
    bd("update", id_, "--claim", code=1)
    assert "only an agent can claim" in bd.err


def test_an_agent_claims_what_is_free_once(bd: Bd, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cal", "dot"):
        bd.shell("spawn", name, "--cli", "echo")
    id_ = bd.new("claim me", "-l", "claims")
    monkeypatch.setenv("TINYTOWN_AGENT_NAME", "cal")
    assert bd.json("ready", "--claim", "-l", "claims")[0]["assignee"] == "cal"
    assert bd.json("update", id_, "--claim")[0]["assignee"] == "cal", "its own again is fine"
    monkeypatch.setenv("TINYTOWN_AGENT_NAME", "dot")
    bd("update", id_, "--claim", code=1)
    assert "already claimed" in bd.err
    assert bd.json("ready", "--claim", "-l", "claims") == []


def test_the_town_goes_out_and_comes_in_as_beads(bd: Bd, tmp_path: Path) -> None:
    id_ = bd.new("travel", "--notes", "by train")
    bd("export", "-o", str(tmp_path / "out.jsonl"))
    records = {each["id"]: each for each in map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())}
    assert records[id_]["notes"] == "by train"
    assert records[id_]["_type"] == "issue"
    (tmp_path / "in.jsonl").write_text(
        '{"_type":"issue","id":"x-1","title":"from elsewhere","status":"open","priority":0}\n'
    )
    bd("import", str(tmp_path / "in.jsonl"))
    assert bd.json("show", "x-1")[0]["priority"] == 0
    assert "from elsewhere" in bd("search", "ELSEWHERE")
    assert bd.json("stats")["summary"]["total_issues"] >= 2
    assert bd.json("count", "--status", "open")["count"] >= 2


def test_answers_stand_in_an_envelope_when_asked_for(bd: Bd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BD_JSON_ENVELOPE", "1")
    assert set(bd.json("list")) == {"schema_version", "data"}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("list", "--frobnicate"), "unknown flag: --frobnicate (tt-bd list has: --status"),
        (("frobnicate",), "No such command 'frobnicate'"),
        (("show", "nope"), "no issue found matching 'nope'"),
        (("create",), "title required"),
        (("create", "x", "-p", "9"), "invalid priority '9'"),
        (("create", "x", "--deps", "nope"), "no issue found"),
        (("create", "x", "--metadata", "[1]"), "invalid metadata"),
        (("create", "x", "--readonly"), "read-only"),
        (("show",), "issue ID required"),
        (("list", "-C", "/nonexistent"), ""),
        (("create", "\x07"), "title required"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_ends_with_1_and_one_line(bd: Bd, words: tuple[str, ...], text: str) -> None:
    bd(*words, code=1)
    assert bd.err.startswith("Error: ")
    assert text in bd.err
    assert len(bd.err.splitlines()) == 1
    bd(*words, "--json", code=1)
    assert json.loads(bd(*words, "--json", code=1))["schema_version"] == 1


def test_it_is_a_program_on_the_path(in_town: Any) -> None:
    out = in_town("quick one", program=("-m", "tinytown_gastown.bd", "q")).out.strip()
    assert in_town.json("task", "show", out)["title"] == "quick one"


def records(text: str | bytes) -> dict[str, dict[str, Any]]:
    return {each["id"]: each for each in map(json.loads, text.splitlines()) if "id" in each}


def test_every_way_out_writes_the_same_and_the_way_back_loses_nothing(bd: Bd, tt: Any) -> None:
    ours = bd.shell.json("backlog", "add", "made in the town", "--tags", "bug,web")["task_id"]
    mine = next(
        id_ for id_, record in records(bd("export")).items() if record.get("external_ref") == f"tinytown:{ours}"
    )
    other = bd.new("made by bd", "-t", "feature", "-l", "gt:x")
    for id_ in (mine, other):
        bd("update", id_, "-t", "bug", "--design", "d", "--notes", "n", "--acceptance", "a", "-p", "4", "--assignee", "rig/zoe",
           "--add-label", "area:ui,\u65e5\u672c", "--set-metadata", "a=b", "--external-ref", "gh-9")  # fmt: skip
        bd("comment", id_, "first")
        bd("comment", id_, "second")
    bd("dep", "add", mine, other, "-t", "related")
    bd("dep", "add", mine, other, "-t", "discovered-from")
    bd("dep", "remove", mine, other)
    bd("dep", "add", other, mine, "-t", "discovered-from")

    out = bd("export").encode()
    assert bd.shell("beads", "export", "-").out.encode() == out
    report = bd.shell.json("beads", "sync", "synced.jsonl")
    assert report["conflict"] == 0
    answer, synced = records(out), records((bd.shell.directory / "synced.jsonl").read_bytes())
    assert {mine, other} <= synced.keys()
    assert synced == {id_: answer[id_] for id_ in synced}
    wanted = {
        "issue_type": "bug", "design": "d", "notes": "n", "acceptance_criteria": "a", "priority": 4, "assignee": "rig/zoe",
        "external_ref": "gh-9",
    }  # fmt: skip
    for id_ in (mine, other):
        assert {key: answer[id_][key] for key in wanted} == wanted
        assert answer[id_]["metadata"]["a"] == "b"
        assert "meta" not in answer[id_]["metadata"].get("tinytown", {})
        assert [each["text"] for each in answer[id_]["comments"]] == ["first", "second"]
    assert answer[mine]["labels"] == ["web", "area:ui", "\u65e5\u672c"]
    assert answer[other]["labels"] == ["gt:x", "area:ui", "\u65e5\u672c"]
    assert "dependencies" not in answer[mine]
    assert [(each["type"], each["depends_on_id"]) for each in answer[other]["dependencies"]] == [
        ("discovered-from", mine)
    ]

    tt("init", "--name", "u")
    (tt.directory / "in.jsonl").write_bytes(out)
    tt("beads", "import", "in.jsonl")
    assert tt("beads", "export", "-").out.encode() == out
    assert tt.json("beads", "sync", "in.jsonl")["file_changed"] is False


def test_what_both_sides_say_of_notes_and_comments_is_brought_together(bd: Bd) -> None:
    file = bd.shell.directory / "both.jsonl"
    sync = ("beads", "sync", "both.jsonl")
    first, second = bd.new("first", "--notes", "old"), bd.new("second", "--notes", "old", "-l", "a:b")
    bd.shell(*sync)

    def edit(**fields: dict[str, Any]) -> None:
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps({**each, **fields.get(each["id"], {})}) + "\n" for each in lines))

    comment = {"id": "c9", "author": "ann", "text": "from the file", "created_at": "2026-01-01T00:00:00Z"}
    edit(**{first: {"notes": "from the file", "comments": [comment]}, second: {"notes": "file", "labels": ["c:d"]}})
    bd("comment", first, "from the town")
    bd("update", second, "--notes", "town", "--design", "town's")
    report = bd.shell.json(*sync, code=1)
    assert {each["id"]: each["fields"] for each in report["beads"] if each["outcome"] == "conflict"} == {
        second: ["notes"]
    }
    assert bd.json("show", first)[0]["notes"] == "from the file"
    assert [each["text"] for each in bd.json("comments", first)] == ["from the file", "from the town"]
    answer = records(file.read_text())
    assert [each["text"] for each in answer[first]["comments"]] == ["from the file", "from the town"]
    assert (answer[second]["notes"], answer[second]["design"], answer[second]["labels"]) == ("file", "town's", ["c:d"])
    assert bd.json("show", second)[0]["notes"] == "town"
    assert bd.shell.json(*sync, "--prefer", "file")["conflict"] == 0
    assert bd.json("show", second)[0]["notes"] == "file"
    assert bd.shell.json(*sync)["file_changed"] is False


def test_a_bead_brought_in_says_what_was_changed_in_the_file_in_the_prompt(bd: Bd) -> None:
    bd.shell("spawn", "moe", "--cli", "echo")
    line = {"id": "p-1", "title": "prompt", "status": "open", "priority": 2, "design": "pentagonal", "assignee": "moe"}
    file = bd.shell.directory / "prompt.jsonl"
    file.write_text(json.dumps(line) + "\n")
    bd.shell("beads", "import", "prompt.jsonl")
    file.write_text(json.dumps({**line, "design": "square"}) + "\n")
    assert bd.shell.json("beads", "import", "prompt.jsonl")["updated"] == 1
    answer = bd.shell("prompt", "moe").out
    assert "square" in answer
    assert "pentagonal" not in answer


def test_priorities_come_and_go(bd: Bd) -> None:
    id_ = bd.new("weigh me")
    for priority in (4, 1, 3, 4, 2):
        assert bd.json("update", id_, "-p", str(priority))[0]["priority"] == priority


def test_a_file_of_odd_beads_comes_in_and_each_can_be_shown(bd: Bd) -> None:
    good = {"status": "open", "priority": 1}
    odd = [
        {"id": "odd-1", "title": "\x00\x1b[31m", **good, "labels": ["\ud800", "a\x00b"], "notes": "\udfff"},
        {"id": "odd-2", "title": "x", **good, "comments": [5, {"text": 7}], "metadata": [1], "assignee": "\ud800"},
        {"id": "odd-3\n../x", "title": "x", **good, "dependencies": [{"depends_on_id": "odd-3\n../x"}]},
        {"id": "odd-4\udc00", "title": "x", **good, "timeout": 10**29, "created_at": "9999999-99"},
    ]
    lines = [json.dumps(each) for each in odd]
    lines += [
        '{"id":"odd-5","title":"x","priority":1,"estimated_minutes":1e400}',
        '{"id":"odd-6","title":"x","priority":1e400}',
    ]
    content = "\r\n".join(["\ufeff" + lines[0], *lines[1:], ""]).encode()
    (bd.shell.directory / "odd.jsonl").write_bytes(content)
    report = bd.shell.json("beads", "import", "odd.jsonl", code=1)
    assert bd.json("import", "odd.jsonl", code=1)["problems"] == report["problems"]
    assert (report["created"], [problem[:7] for problem in report["problems"]]) == (
        4,
        ["line 5:", "line 6:"],
    )
    for id_ in [each["id"] for each in bd.json("list", "--limit", "0") if each["id"].startswith("odd-")]:
        bd("show", id_)
        bd.json("show", id_)
        bd.json("comments", id_)
    bd("update", "odd-2", "--set-metadata", "a=b")
    assert content[:-200].splitlines()[0] in bd("export").encode()
    assert bd.shell.json("beads", "sync", "odd.jsonl", code=1)["conflict"] == 0
