"""``tt doctor`` in healthy towns and in towns with problems."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tinytown.client import TownClient
from tinytown_cli.context import CliContext
from tinytown_ops.doctor.town_checks import check_clock
from tinytown_testing.shell import Shell


@pytest.fixture
def at_work(tt: Shell) -> Iterator[Shell]:
    """A shell in a town of its own with a kernel."""
    tt("init", "--name", "patient")
    tt("start", "--background")
    yield tt
    tt("stop", "--timeout", "5")


@contextmanager
def linked(tt: Shell) -> Iterator[TownClient]:
    context = CliContext()
    context.town = str(tt.directory)
    with context.open_town() as town:
        yield town


def findings(tt: Shell, *words: str, code: int = 0, **more: Any) -> dict[str, list[dict[str, str]]]:
    """What was found, by check."""
    told = tt("doctor", *words, "--json", code=code, **more).json
    assert told["healthy"] == (code == 0)
    found: dict[str, list[dict[str, str]]] = {}
    for each in told["findings"]:
        found.setdefault(each["check"], []).append(each)
    return found


def belongings(tt: Shell) -> dict[str, Any]:
    """All that a town has but its events and what is forgotten by itself."""
    with linked(tt) as town:
        keys = {key.decode() for key in town.client.command("KEYS", "*")}
    passing = (":events", ":op:", ":trace:", ":seq", ":tokens", ":costs")
    files = {
        str(path.relative_to(tt.directory)) for path in (tt.directory / ".tt").rglob("*") if "run/" not in str(path)
    }
    return {"keys": {key for key in keys if not any(part in key for part in passing)}, "files": files}


def test_a_task_is_really_done_and_nothing_of_it_is_left(at_work: Shell) -> None:
    at_work("spawn", "ada")
    at_work("assign", "ada", "true")
    at_work("wait", "ada")
    before = belongings(at_work)
    (told,) = findings(at_work)["a task"]
    assert told["level"] == "ok"
    assert told["found"].startswith("completed by a temporary agent in ")
    after = belongings(at_work)
    assert after["keys"] - before["keys"] == set()
    assert after["files"] - before["files"] == set()
    done = at_work("events", "--type", "round_ended", "--json").lines
    assert [(each["agent"], each["outcome"]) for each in done] == [("ada", "finished"), ("tt-doctor", "finished")]
    assert "a task" not in findings(at_work, "--no-task")
    assert len(at_work("events", "--type", "round_ended", "--json").lines) == 2


def test_two_doctors_do_not_take_each_others_agent(at_work: Shell) -> None:
    at_work("spawn", "tt-doctor", "--cli", "echo")
    (told,) = findings(at_work)["a task"]
    assert (told["level"], "tt remove tt-doctor --force" in told["fix"]) == ("note", True)
    assert [each["name"] for each in at_work("list", "--json").json["agents"]] == ["tt-doctor"]


def test_without_a_kernel_no_task_is_tried(tt: Shell) -> None:
    tt("init", "--name", "patient")
    found = findings(tt)
    assert found["a task"][0]["level"] == "note"
    assert "no kernel is running on this machine" in found["a task"][0]["found"]
    assert found["kernel"][0]["fix"] == "tt start --background"
    assert tt("events", "--json", "--type", "agent_spawned").out == ""


def test_a_task_that_fails_is_a_problem_and_nothing_of_it_is_left_either(tt: Shell) -> None:
    tt("init", "--name", "patient")
    with open(tt.directory / "tinytown.toml", "a") as settings:
        settings.write("\n[round]\nmax_attempts = 1\n\n[plugins.echo]\nfail_first = 99\n")
    tt("start", "--background")
    (told,) = findings(tt, code=1)["a task"]
    assert told["level"] == "problem"
    assert "fail_first" in told["found"]
    assert "kernel.log" in told["fix"]
    assert tt("list", "--json").json == {"agents": []}
    assert tt("task", "list", "--json").json == {"tasks": []}
    tt("stop", "--timeout", "5")


def test_agents_and_kernels_in_trouble_are_found_each_with_what_to_do(tt: Shell) -> None:
    tt("init", "--name", "patient")
    for name in ("sick", "stuck", "lost", "well"):
        tt("spawn", name)
    ids = {each["name"]: each["id"] for each in tt("list", "--json").json["agents"]}
    with linked(tt) as town:
        base = town.operations.keys.base

        def change(name: str, *fields: str) -> None:
            town.client.command("HSET", f"{base}:agent:{ids[name]}", *fields)

        long_ago = str(town.now_ms() - 5_000_000)
        town.run(
            town.operations.register_host(
                "old", lease_ms=3_600_000, details={"name": "attic", "version": "0.0.1", "backends": ""}
            )
        )
        town.run(town.operations.register_host("gone", lease_ms=3_600_000, details={"name": "cellar", "pid": "7"}))
        town.client.command("ZADD", f"{base}:hosts", "1", "gone")
        change("sick", "state", "error", "reason", "no login")
        change("stuck", "state", "working", "host", "old", "since", long_ago)
        change("lost", "state", "idle", "host", "nobody")
        change("well", "state", "idle", "host", "old")
    found = findings(tt, code=1)
    troubles = {each["found"].split()[0]: each for each in found["agents"]}
    assert set(troubles) == {"sick", "stuck", "lost"}
    assert {each["level"] for each in found["agents"]} == {"problem"}
    assert "no login" in troubles["sick"]["found"]
    assert "tt resume sick" in troubles["sick"]["fix"]
    assert "longer than round.timeout_s" in troubles["stuck"]["found"]
    assert "by a kernel that is gone" in troubles["lost"]["found"]
    assert "kernel on attic has version 0.0.1" in found["kernel version"][0]["found"]
    assert "cellar (process 7) expired" in found["leases"][0]["found"]
    text = tt("doctor", code=1).out
    assert "fix it, then run tt resume sick" in text


def test_what_the_death_of_the_machine_would_cost_is_told(tt: Shell) -> None:
    user_file = Path(tt.variables["TINYTOWN_HOME"]) / "config.toml"
    assert "fast" in user_file.read_text()
    tt("init", "--name", "patient")
    (told,) = findings(tt)["server data"]
    assert (told["level"], told["fix"]) == ("note", 'set redis.durability to "safe"')
    assert "synced every second" in told["found"]
    user_file.unlink()  # what nobody has chosen is safe, and the next command makes the running server so
    tt("status")
    (told,) = findings(tt)["server data"]
    assert (told["level"], told["found"]) == ("ok", "append-only file, synced at every write")


def test_a_server_that_keeps_nothing_is_told_of(tt: Shell) -> None:
    tt("init", "--name", "patient")
    with linked(tt) as town:
        for setting in (("appendonly", "no"), ("save", "")):
            town.client.command("CONFIG", "SET", *setting)
    (told,) = findings(tt)["server data"]
    assert (told["level"], told["fix"]) == ("note", "set appendonly yes in its configuration")
    with linked(tt) as town:
        town.client.command("CONFIG", "SET", "save", "3600 1")
    assert findings(tt)["server data"][0]["found"] == "snapshots"


def test_functions_of_other_versions_are_told_of_and_are_no_loss(tt: Shell) -> None:
    tt("init", "--name", "patient")
    assert "server functions" not in findings(tt)
    tt("save")  # ours too, with functions of its own
    with linked(tt) as town:
        town.client.command(
            "FUNCTION", "LOAD", "#!lua name=tinytown_0ld\nredis.register_function('old', function() end)"
        )
        names = [each[b"library_name"].decode() for each in town.client.command("FUNCTION", "LIST")]
        (told,) = findings(tt)["server functions"]
        assert told["found"] == "functions of other versions of Tinytown: tinytown_0ld"
        for name in names:  # as it advises, and more
            town.client.command("FUNCTION", "DELETE", name)
    tt("list")
    assert "server functions" not in findings(tt)


@pytest.mark.parametrize(("ahead_s", "level"), [(0, "ok"), (10, "note"), (-10, "note"), (3600, "problem")])
def test_a_clock_that_differs_from_the_servers_is_told_of(tt: Shell, ahead_s: int, level: str) -> None:
    class Elsewhere(TownClient):
        def now_ms(self) -> int:
            return super().now_ms() - ahead_s * 1000

    tt("init", "--name", "patient")
    with linked(tt) as town:
        (found,) = check_clock(Elsewhere(town.root, town.config, town.client))
    assert found.level == level
    assert ("ahead of" in found.found) == (ahead_s > 0)


def test_coding_clis_are_named_with_their_versions(tt: Shell, tmp_path: Path) -> None:
    (tmp_path / "claude").write_text("#!/bin/sh\necho '2.1.197 (Claude Code)'\n")
    (tmp_path / "claude").chmod(0o755)
    found = findings(tt, env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert found["coding CLI"][0]["found"] == f"claude: 2.1.197 (Claude Code) at {tmp_path}/claude"
    assert found["git"][0]["found"].startswith("git version ")
