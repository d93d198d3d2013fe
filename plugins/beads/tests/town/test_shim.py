"""``tt-bd`` as an agent that was written for beads types it: bd's words, its JSON, its way of failing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tinytown_beads.shim.program import run


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
def bd(tt: Any, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Bd:
    for name in list(os.environ):
        if name.startswith(("TINYTOWN_", "BD_", "BEADS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TINYTOWN_HOME", tt.variables["TINYTOWN_HOME"])
    monkeypatch.setenv("TINYTOWN_NO_KERNEL", "1")
    monkeypatch.chdir(tt.directory)
    return Bd(tt, capsysbinary)


def test_an_issue_is_made_shown_changed_and_closed(bd: Bd) -> None:
    made = bd.json(
        "create", "Fix the login", "-d", "It fails", "-t", "bug", "-p", "1", "-l", "auth,web", "--design", "as before"
    )
    id_ = made["id"]
    assert id_.startswith("t-")
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
    assert bd.json("show", second)[0]["dependencies"][0]["depends_on_id"] == first
    assert bd.json("show", second)[0]["dependency_count"] == 1
    bd("close", second, code=1)
    assert "blocked by open issues" in bd.err
    assert [(each["id"], each["depth"]) for each in bd.json("dep", "tree", second)] == [(second, 0), (first, 1)]
    bd("dep", "add", first, second, code=1)
    assert "circle" in bd.err
    bd("dep", "remove", second, first)
    assert {each["id"] for each in bd.json("ready", "-l", "graph")} == {first, second}
    assert bd.json("dep", "cycles") == []


def test_children_comments_and_labels(bd: Bd) -> None:
    epic = bd.new("epic", "-t", "epic")
    child = bd.new("child", "--parent", epic)
    assert child == f"{epic}.1"
    assert bd.json("show", child)[0]["parent"] == epic
    assert [each["id"] for each in bd.json("list", "--parent", epic)] == [child]
    bd("comment", child, "looks good", "--actor", "ann")
    bd("comments", "add", child, "done soon")
    assert [(each["author"], each["text"]) for each in bd.json("comments", child)] == [
        ("ann", "looks good"), ("supervisor", "done soon"),
    ]  # fmt: skip
    assert bd.json("show", child)[0]["comment_count"] == 2
    assert bd.json("label", "add", child, "later")["labels"] == ["later"]
    assert bd.json("label", "remove", child, "later")["labels"] == []


def test_what_was_said_of_an_issue_stands_in_the_prompt(bd: Bd) -> None:
    bd.shell("spawn", "eve", "--cli", "echo")
    id_ = bd.new("tell all", "--design", "as a tree")
    bd("comment", id_, "mind the leaves")
    bd("update", id_, "--append-notes", "seen in spring", "--design", "as a graph", "--assignee", "eve")
    told = bd.shell("prompt", "eve").out
    assert "mind the leaves" in told
    assert "seen in spring" in told
    assert "as a graph" in told
    assert "as a tree" not in told


def test_work_is_held_and_let_go_by_its_status(bd: Bd) -> None:
    id_ = bd.new("hold me")
    assert bd.json("update", id_, "--status", "deferred")[0]["status"] != "closed"
    assert id_ not in [each["id"] for each in bd.json("ready", "--limit", "0")]
    bd("update", id_, "--status", "open")
    assert id_ in [each["id"] for each in bd.json("ready", "--limit", "0")]
    bd("update", id_, "--status", "nonsense", code=1)
    assert "invalid status" in bd.err
    bd("update", id_, "--claim", code=1)
    assert "claimed by an agent" in bd.err


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
    ("words", "said"),
    [
        (("list", "--frobnicate"), "unknown flag: --frobnicate (tt-bd list has: --status"),
        (("frobnicate",), "No such command 'frobnicate'"),
        (("show", "nope"), "no issue found matching 'nope'"),
        (("create",), "title required"),
        (("create", "x", "-p", "9"), "invalid priority '9'"),
        (("create", "x", "--deps", "nope"), "no issue found"),
        (("create", "x", "--metadata", "[1]"), "invalid metadata"),
        (("create", "x", "--readonly"), "read-only"),
        (("show",), "Missing argument"),
        (("list", "-C", "/nonexistent"), ""),
        (("create", "bell \x07"), ""),
    ],
)  # fmt: skip
def test_what_cannot_be_done_ends_with_1_and_one_line(bd: Bd, words: tuple[str, ...], said: str) -> None:
    bd(*words, code=1)
    assert bd.err.startswith("Error: ")
    assert said in bd.err
    assert len(bd.err.splitlines()) == 1
    bd(*words, "--json", code=1)
    assert json.loads(bd.err)["schema_version"] == 1


def test_it_is_a_program_on_the_path(tt: Any) -> None:
    out = tt("quick one", program=("-m", "tinytown_beads.shim", "q")).out.strip()
    assert tt.json("task", "show", out)["title"] == "quick one"
