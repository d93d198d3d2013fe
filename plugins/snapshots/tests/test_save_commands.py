"""`tt save`, `tt restore` and `tt reset` as people type them."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

from tinytown_testing.shell import Shell


def fill(tt: Shell) -> None:
    tt("init", "--name", "here")
    tt("spawn", "ann", "--cli", "shell", "--role", "dev")
    tt("assign", "ann", "first", "--title", "one")
    tt("backlog", "add", "later", "--tags", "a,b")
    tt("send", "ann", "read this", "--info", "--urgent")
    tt("send", "supervisor", "and this", "--info")


def test_a_restored_town_equals_the_saved_one(tt: Shell) -> None:
    fill(tt)
    report = tt("save", "--json").json
    file = tt.directory / "tinytown.jsonl"
    assert report["file"] == str(file)
    assert (report["agents"], report["tasks"], report["messages"], report["dead_letters"]) == (1, 2, 3, 0)
    content = file.read_bytes()
    assert len(content) == report["size_bytes"]
    before = {words: tt(*words, "--json").json for words in [("task", "list"), ("backlog", "list"), ("inbox", "ann")]}
    tt("reset", "--force")
    assert tt("list", "--json").json == {"agents": []}
    assert tt("restore", "tinytown.jsonl").out.startswith("added 1 agent, 2 tasks, 3 messages, 0 dead letters")
    assert {words: tt(*words, "--json").json for words in before} == before
    assert tt("save").out.rstrip().endswith("(unchanged)")
    assert file.read_bytes() == content


def test_mail_that_waits_for_the_next_round_waits_for_it_in_the_restored_town(tt: Shell) -> None:
    fill(tt)
    tt("send", "ann", "just so that you know", "--info")
    (waiting,) = [entry for entry in tt("inbox", "ann", "--json").json["messages"] if entry["place"] == "delayed"]
    assert (waiting["place"], waiting["until"]) == ("delayed", None)
    tt("save")
    tt("reset", "--force")
    tt("restore", "tinytown.jsonl")
    assert waiting in tt("inbox", "ann", "--json").json["messages"]
    assert tt("list", "--json").json["agents"][0]["inbox"]["with_next"] == 1


def test_a_snapshot_is_restored_into_a_town_of_another_name(tt: Shell) -> None:
    fill(tt)
    tt("save", "moved.jsonl")
    elsewhere = tt.directory / "elsewhere"
    elsewhere.mkdir()
    tt("init", "--inside", "--name", "there", cwd=elsewhere)
    tt("restore", "../moved.jsonl", cwd=elsewhere)
    tt("save", cwd=elsewhere)
    saved = (elsewhere / "tinytown.jsonl").read_bytes()
    assert saved == (tt.directory / "moved.jsonl").read_bytes()
    assert b"here" not in saved.replace(b'"there"', b"")


def test_a_snapshot_is_saved_to_and_restored_from_a_pipe(tt: Shell) -> None:
    fill(tt)
    piped = tt("save", "-").out
    tt("save")
    assert piped == (tt.directory / "tinytown.jsonl").read_text()
    assert tt("save", "-", "--json", code=2).error["hint"] == "leave out --json, or name a file"
    tt("reset", "--force", "--no-save")
    assert tt("restore", "-", given=piped.encode()).out.startswith("added 1 agent, 2 tasks, 3 messages")
    assert tt("save", "-").out == piped
    assert not (tt.directory / "-").exists()
    assert tt("restore", "-", "--merge", "--json", code=2).error["code"] == "bad_snapshot"


def test_only_a_snapshot_or_an_empty_file_is_overwritten(tt: Shell) -> None:
    fill(tt)
    before = (tt.directory / "tinytown.toml").read_text()
    error = tt("save", "tinytown.toml", "--json", code=4).error
    assert error["code"] == "exists"
    assert (tt.directory / "tinytown.toml").read_text() == before
    (tt.directory / "empty").touch()
    tt("save", "empty")
    tt("save", "no/such/directory.jsonl", code=1)
    tt("save", ".", code=2)
    assert not list(tt.directory.glob(".*.jsonl.*"))


def test_a_snapshot_is_private_unless_its_mode_was_changed(tt: Shell) -> None:
    fill(tt)
    tt("save")
    file = tt.directory / "tinytown.jsonl"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    tt("send", "ann", "more", "--info")
    tt("save")
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_git_shows_changes_line_by_line(tt: Shell) -> None:
    fill(tt)
    tt("save")

    def git(*words: str) -> str:
        options = ["-c", "user.name=t", "-c", "user.email=t@t"]
        return subprocess.run(
            ["git", *options, *words], cwd=tt.directory, capture_output=True, check=True, text=True
        ).stdout

    git("init", "-q", ".")
    git("add", "tinytown.jsonl")
    git("commit", "-q", "-m", "one")
    tt("backlog", "add", "one more")
    tt("save")
    changed = [line for line in git("diff", "-U0").splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert len(changed) == 1
    assert json.loads(changed[0][1:])["description"] == "one more"


def test_restoring_into_a_town_that_is_not_empty_needs_merge(tt: Shell) -> None:
    fill(tt)
    tt("save")
    tt("backlog", "add", "new since")
    error = tt("restore", "tinytown.jsonl", "--json", code=4).error
    assert error["code"] == "not_empty"
    report = tt("restore", "tinytown.jsonl", "--merge", "--dry-run", "--json").json
    assert (report["dry_run"], set(report["added"].values()), report["same"]["tasks"]) == (True, {0}, 2)


def test_an_invalid_snapshot_is_refused_with_its_line(tt: Shell) -> None:
    fill(tt)
    tt("save")
    tt("reset", "--force")
    file = tt.directory / "tinytown.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:3], lines[3][:40] + b"\n", *lines[4:]]))
    error = tt("restore", "tinytown.jsonl", "--json", code=2).error
    assert error["code"] == "bad_snapshot"
    assert "line 4" in error["message"]
    assert tt("task", "list", "--json").json["tasks"] == []
    assert tt("restore", "no.jsonl", "--json", code=3).error["code"] == "not_found"
    os.mkfifo(tt.directory / "pipe")
    tt("restore", "pipe", code=2)


def test_a_reset_shows_what_it_would_remove_and_saves_a_snapshot_first(tt: Shell) -> None:
    fill(tt)
    answer = tt("reset", "--json", code=4)
    assert answer.json == {
        "reset": False, "agents_only": False, "saved": None, "agents": 1, "tasks": 2, "messages": 3, "dead_letters": 0,
        "plugin_data": 0,
    }  # fmt: skip
    assert answer.error["code"] == "needs_force"
    assert len(tt("list", "--json").json["agents"]) == 1
    report = tt("reset", "--force", "--json").json
    assert Path(report["saved"]).parent == tt.state()
    assert report["reset"]
    assert tt("status", "--json").json["tasks"]["pending"] == 0
    assert not tt("reset", "--json").json["saved"], "an empty town needs no force and no snapshot"
    tt("restore", report["saved"])
    assert len(tt("list", "--json").json["agents"]) == 1


def test_a_reset_of_agents_only_keeps_their_work(tt: Shell) -> None:
    fill(tt)
    report = tt("reset", "--agents-only", "--force", "--no-save", "--json").json
    assert (report["agents"], report["tasks"], report["messages"], report["saved"]) == (1, 1, 1, None)
    assert [item["description"] for item in tt("backlog", "list", "--json").json["tasks"]] == ["first", "later"]
    assert [item["agent"] for item in tt("dead", "list", "--json").json["dead"]] == ["ann"]
    assert len(tt("inbox", "--json").json["messages"]) == 1


def test_a_town_is_not_reset_while_a_kernel_runs(tt: Shell) -> None:
    fill(tt)
    tt("start", "--background")
    error = tt("reset", "--force", "--json", code=4).error
    assert error["code"] == "kernel_running"
    tt("save")
    tt("stop", "--keep-server")
    tt("reset", "--force")


def test_an_agent_can_save_but_neither_restore_nor_reset(tt: Shell) -> None:
    fill(tt)
    tt("save")
    env = {"TINYTOWN_TOWN": str(tt.directory), "TINYTOWN_AGENT_ID": "ann", "TINYTOWN_AGENT_NAME": "ann"}
    tt("save", env=env)
    tt("reset", "--force", env=env, code=4)
    tt("restore", "tinytown.jsonl", "--merge", env=env, code=4)


def test_a_snapshot_of_version_1_is_restored_by_the_command(tt: Shell) -> None:
    content = Path(__file__).with_name("recordings").joinpath("version_1.jsonl").read_bytes()
    tt("init", "--name", "here")
    report = tt("restore", "-", "--json", given=content).json
    assert report["added"] == {"agents": 8, "tasks": 9, "messages": 6, "dead_letters": 1, "plugin_data": 2}
    agents = {agent["name"]: agent for agent in tt("list", "--json").json["agents"]}
    assert (agents["ben"]["desired_state"], agents["dan"]["state"]) == ("paused", "suspended")
    tt("save")
    saved = [json.loads(line) for line in (tt.directory / "tinytown.jsonl").read_bytes().splitlines()]
    before = [json.loads(line) for line in content.splitlines()]
    assert [line["type"] for line in saved] == [line["type"] for line in before]
    assert [line.get("id") for line in saved] == [line.get("id") for line in before]
    assert tt("restore", "-", "--merge", "--json", given=content).json["same"] == report["added"]
