"""Saving, restoring and resetting a town, as people type it."""

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


def test_a_saved_town_comes_back_as_it_was(tt: Shell) -> None:
    fill(tt)
    told = tt("save", "--json").json
    file = tt.directory / "tinytown.jsonl"
    assert told["file"] == str(file)
    assert (told["agents"], told["tasks"], told["messages"], told["dead_letters"]) == (1, 2, 3, 0)
    content = file.read_bytes()
    assert len(content) == told["size_bytes"]
    before = {words: tt(*words, "--json").json for words in [("task", "list"), ("backlog", "list"), ("inbox", "ann")]}
    tt("reset", "--force")
    assert tt("list", "--json").json == {"agents": []}
    assert tt("restore", "tinytown.jsonl").out.startswith("added 1 agent, 2 tasks, 3 messages, 0 dead letters")
    assert {words: tt(*words, "--json").json for words in before} == before
    assert tt("save").out.rstrip().endswith("which has not changed")
    assert file.read_bytes() == content


def test_a_snapshot_moves_to_a_town_of_another_name_elsewhere(tt: Shell) -> None:
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


def test_a_snapshot_goes_through_a_pipe(tt: Shell) -> None:
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


def test_a_snapshot_goes_where_it_is_told_to_and_nothing_else_is_overwritten(tt: Shell) -> None:
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


def test_a_snapshot_is_for_its_owner_alone_unless_they_say_otherwise(tt: Shell) -> None:
    fill(tt)
    tt("save")
    file = tt.directory / "tinytown.jsonl"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    tt("send", "ann", "more", "--info")
    tt("save")
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_git_shows_what_changed_line_by_line(tt: Shell) -> None:
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


def test_restoring_into_a_town_that_is_not_empty_is_refused_or_a_merge(tt: Shell) -> None:
    fill(tt)
    tt("save")
    tt("backlog", "add", "new since")
    error = tt("restore", "tinytown.jsonl", "--json", code=4).error
    assert error["code"] == "not_empty"
    told = tt("restore", "tinytown.jsonl", "--merge", "--dry-run", "--json").json
    assert (told["dry_run"], set(told["added"].values()), told["same"]["tasks"]) == (True, {0}, 2)


def test_a_broken_snapshot_is_refused_by_its_line(tt: Shell) -> None:
    fill(tt)
    tt("save")
    tt("reset", "--force")
    file = tt.directory / "tinytown.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:3], lines[3][:40] + b"\n", *lines[4:]]))
    error = tt("restore", "tinytown.jsonl", "--json", code=2).error
    assert error["code"] == "bad_snapshot"
    assert "line 4" in error["message"]
    assert tt("task", "list", "--json").json == {"tasks": []}
    assert tt("restore", "no.jsonl", "--json", code=3).error["code"] == "not_found"
    os.mkfifo(tt.directory / "pipe")
    tt("restore", "pipe", code=2)


def test_a_reset_says_what_would_go_and_saves_before_it_does_it(tt: Shell) -> None:
    fill(tt)
    answer = tt("reset", "--json", code=4)
    assert answer.json == {
        "reset": False, "agents_only": False, "saved": None, "agents": 1, "tasks": 2, "messages": 3, "dead_letters": 0,
        "plugin_data": 0,
    }  # fmt: skip
    assert answer.error["code"] == "needs_force"
    assert len(tt("list", "--json").json["agents"]) == 1
    told = tt("reset", "--force", "--json").json
    assert Path(told["saved"]).parent == tt.directory / ".tt"
    assert told["reset"]
    assert tt("status", "--json").json["tasks"]["pending"] == 0
    assert not tt("reset", "--json").json["saved"], "an empty town needs no force and no snapshot"
    tt("restore", told["saved"])
    assert len(tt("list", "--json").json["agents"]) == 1


def test_a_reset_of_the_agents_only_keeps_their_work(tt: Shell) -> None:
    fill(tt)
    told = tt("reset", "--agents-only", "--force", "--no-save", "--json").json
    assert (told["agents"], told["tasks"], told["messages"], told["saved"]) == (1, 1, 1, None)
    assert [each["description"] for each in tt("backlog", "list", "--json").json["tasks"]] == ["first", "later"]
    assert [each["agent"] for each in tt("dead", "list", "--json").json["dead"]] == ["ann"]
    assert len(tt("inbox", "--json").json["messages"]) == 1


def test_no_town_is_reset_while_its_kernel_runs(tt: Shell) -> None:
    fill(tt)
    tt("start", "--background")
    error = tt("reset", "--force", "--json", code=4).error
    assert error["code"] == "kernel_running"
    tt("save")
    tt("stop", "--keep-server")
    tt("reset", "--force")


def test_an_agent_inside_a_round_saves_and_neither_restores_nor_resets(tt: Shell) -> None:
    fill(tt)
    tt("save")
    env = {"TINYTOWN_TOWN": str(tt.directory), "TINYTOWN_AGENT_ID": "ann", "TINYTOWN_AGENT_NAME": "ann"}
    tt("save", env=env)
    tt("reset", "--force", env=env, code=4)
    tt("restore", "tinytown.jsonl", "--merge", env=env, code=4)
