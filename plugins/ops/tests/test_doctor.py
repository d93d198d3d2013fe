"""``tt doctor`` in healthy towns and in towns with problems."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tinytown.contracts import AgentBackend, AgentContext, AgentSession
from tinytown.plugin import Plugins
from tinytown_cli.client import TownClient
from tinytown_cli.context import CliContext
from tinytown_ops.doctor.command import shortened
from tinytown_ops.doctor.machine_checks import check_plugins
from tinytown_ops.doctor.town_checks import check_access, check_clock, check_rights
from tinytown_sinks import set_position
from tinytown_testing.sandbox import changed_environment
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
    with changed_environment({"XDG_STATE_HOME": tt.variables["XDG_STATE_HOME"]}), context.open_town() as town:
        yield town


def findings(tt: Shell, *words: str, code: int = 0, **more: Any) -> dict[str, list[dict[str, str]]]:
    """What was found, by check."""
    answer = tt("doctor", *words, "--json", code=code, **more).json
    assert answer["healthy"] == (code == 0)
    by_check: dict[str, list[dict[str, str]]] = {}
    for finding in answer["findings"]:
        by_check.setdefault(finding["check"], []).append(finding)
    return by_check


def belongings(tt: Shell) -> dict[str, Any]:
    """All that a town has but its events and what is forgotten by itself."""
    with linked(tt) as town:
        keys = {key.decode() for key in town.client.command("KEYS", "*")}
    passing = (":events", ":op:", ":trace:", ":seq", ":tokens", ":costs")
    files = {str(path.relative_to(tt.state())) for path in tt.state().rglob("*") if "run/" not in str(path)}
    return {"keys": {key for key in keys if not any(part in key for part in passing)}, "files": files}


def test_the_smoke_test_completes_a_task_and_removes_every_trace(at_work: Shell) -> None:
    at_work("spawn", "ada")
    at_work("assign", "ada", "true")
    at_work("wait", "ada")
    before = belongings(at_work)
    (finding,) = findings(at_work)["a task"]
    assert finding["level"] == "ok"
    assert finding["found"].startswith("completed by a temporary agent in ")
    after = belongings(at_work)
    assert after["keys"] - before["keys"] == set()
    assert after["files"] - before["files"] == set()
    done = at_work("events", "--type", "round_ended", "--json").lines
    assert [(record["agent"], record["outcome"]) for record in done] == [
        ("ada", "finished"),
        ("tt-doctor", "finished"),
    ]
    assert [each["agent"] for each in at_work("history", "--json").json["rounds"]] == ["ada"]
    assert "a task" not in findings(at_work, "--no-task")
    assert len(at_work("events", "--type", "round_ended", "--json").lines) == 2


def test_the_smoke_test_does_no_work_of_the_town(at_work: Shell) -> None:
    waiting = at_work.json("backlog", "add", "real work")["task_id"]
    (finding,) = findings(at_work)["a task"]
    assert finding["level"] == "ok"
    assert at_work.json("task", "show", waiting)["state"] == "pending"


def test_concurrent_doctors_do_not_share_their_temporary_agent(at_work: Shell) -> None:
    at_work("spawn", "tt-doctor", "--cli", "echo")
    (finding,) = findings(at_work)["a task"]
    assert (finding["level"], "tt remove tt-doctor --force" in finding["fix"]) == ("note", True)
    assert [agent["name"] for agent in at_work("list", "--json").json["agents"]] == ["tt-doctor"]


def test_without_a_kernel_the_smoke_test_is_skipped(tt: Shell) -> None:
    tt("init", "--name", "patient")
    by_check = findings(tt)
    assert by_check["a task"][0]["level"] == "note"
    assert "no kernel is running on this machine" in by_check["a task"][0]["found"]
    assert by_check["kernel"][0]["fix"] == "tt start --background"
    assert tt("events", "--json", "--type", "agent_spawned").out == ""


def test_a_failed_smoke_test_is_a_problem_and_removes_every_trace(tt: Shell) -> None:
    tt("init", "--name", "patient")
    with open(tt.directory / "tinytown.toml", "a") as settings:
        settings.write("\n[round]\nmax_attempts = 1\n\n[plugins.echo]\nfail_first = 99\n")
    tt("start", "--background")
    (finding,) = findings(tt, code=1)["a task"]
    assert finding["level"] == "problem"
    assert "fail_first" in finding["found"]
    assert "kernel.log" in finding["fix"]
    assert tt("list", "--json").json == {"agents": []}
    assert tt("task", "list", "--json").json["tasks"] == []
    tt("stop", "--timeout", "5")


def test_agents_and_kernels_with_problems_are_reported_with_fixes(tt: Shell) -> None:
    tt("init", "--name", "patient")
    for name in ("sick", "stuck", "lost", "well"):
        tt("spawn", name)
    ids = {agent["name"]: agent["id"] for agent in tt("list", "--json").json["agents"]}
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
    by_check = findings(tt, code=1)
    troubles = {finding["found"].split()[0]: finding for finding in by_check["agents"]}
    assert set(troubles) == {"sick", "stuck", "lost"}
    assert {finding["level"] for finding in by_check["agents"]} == {"problem"}
    assert "no login" in troubles["sick"]["found"]
    assert "tt resume sick" in troubles["sick"]["fix"]
    assert "longer than round.timeout_s" in troubles["stuck"]["found"]
    assert "by a kernel that is gone" in troubles["lost"]["found"]
    assert "kernel on attic has version 0.0.1" in by_check["kernel version"][0]["found"]
    assert "cellar (process 7) expired" in by_check["leases"][0]["found"]
    text = tt("doctor", code=1).out
    assert "fix it, then run tt resume sick" in text


def test_the_durability_of_the_server_is_reported(tt: Shell) -> None:
    user_file = Path(tt.variables["TINYTOWN_HOME"]) / "config.toml"
    assert "fast" in user_file.read_text()
    tt("init", "--name", "patient")
    (finding,) = findings(tt)["server data"]
    assert (finding["level"], finding["fix"]) == ("note", 'set redis.durability to "safe"')
    assert "synced every second" in finding["found"]
    user_file.unlink()  # what nobody has chosen is safe, and the next command makes the running server so
    tt("status")
    (finding,) = findings(tt)["server data"]
    assert (finding["level"], finding["found"]) == ("ok", "append-only file, synced at every write")


def test_a_server_without_persistence_is_reported(tt: Shell) -> None:
    tt("init", "--name", "patient")
    with linked(tt) as town:
        for setting in (("appendonly", "no"), ("save", "")):
            town.client.command("CONFIG", "SET", *setting)
    (finding,) = findings(tt)["server data"]
    assert (finding["level"], finding["fix"]) == ("note", "set appendonly yes in its configuration")
    with linked(tt) as town:
        town.client.command("CONFIG", "SET", "save", "3600 1")
    assert findings(tt)["server data"][0]["found"] == "snapshots"


def test_functions_of_other_versions_are_reported_and_can_be_deleted(tt: Shell) -> None:
    tt("init", "--name", "patient")
    assert "server functions" not in findings(tt)
    tt("save")  # ours too, with functions of its own
    with linked(tt) as town:
        town.client.command(
            "FUNCTION", "LOAD", "#!lua name=tinytown_0ld\nredis.register_function('old', function() end)"
        )
        names = [library[b"library_name"].decode() for library in town.client.command("FUNCTION", "LIST")]
        (finding,) = findings(tt)["server functions"]
        assert finding["found"] == "functions of other versions of Tinytown: tinytown_0ld"
        for name in names:  # as it advises, and more
            town.client.command("FUNCTION", "DELETE", name)
    tt("list")
    assert "server functions" not in findings(tt)


def test_a_reader_of_events_that_is_about_to_lose_some_is_a_problem(tt: Shell) -> None:
    tt("init", "--name", "patient")
    with linked(tt) as town:
        town.run(town.operations.emit("first", {}))
        (first,) = town.run(town.operations.latest_events(1))
        for name in ("service:clerk", "gone"):
            town.run(set_position(town.operations.keys, name, first.id))
    assert "sinks" not in findings(tt)
    with linked(tt) as town:
        town.run_all([town.operations.emit("noise", {"number": str(number)}) for number in range(9_500)])
    (finding,) = findings(tt, code=1)["sinks"]
    assert finding["level"] == "problem"
    assert finding["found"].startswith("sink service:clerk: the town keeps 5")
    assert finding["found"].endswith(" further events before the oldest are lost to it")


def test_events_that_a_reader_has_missed_are_counted(tt: Shell) -> None:
    tt("init", "--name", "forgetful")
    with linked(tt) as town:
        for after in ("1-0", "5-0"):
            town.run(town.operations.emit("sink_gap", {"sink": "notify.phone", "after": after, "before": "9-0"}))
    (finding,) = findings(tt)["sinks"]
    assert finding["level"] == "note"
    assert finding["found"].startswith("sink notify.phone missed events 2 times, last at 20")


@pytest.mark.parametrize(("ahead_s", "level"), [(0, "ok"), (10, "note"), (-10, "note"), (3600, "problem")])
def test_a_clock_skew_to_the_server_is_reported(tt: Shell, ahead_s: int, level: str) -> None:
    class Elsewhere(TownClient):
        def now_ms(self) -> int:
            return super().now_ms() - ahead_s * 1000

    tt("init", "--name", "patient")
    with linked(tt) as town:
        (finding,) = check_clock(Elsewhere(town.root, town.config, town.client))
    assert finding.level == level
    assert ("ahead of" in finding.found) == (ahead_s > 0)


def test_coding_clis_are_listed_with_their_versions(tt: Shell, tmp_path: Path) -> None:
    (tmp_path / "claude").write_text("#!/bin/sh\necho '2.1.197 (Claude Code)'\n")
    (tmp_path / "claude").chmod(0o755)
    by_check = findings(tt, env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert by_check["coding CLI"][0]["found"] == f"claude: 2.1.197 (Claude Code) at {tmp_path}/claude"
    assert by_check["git"][0]["found"].startswith("git version ")


class Absent(AgentBackend):
    """A kind whose program is missing."""

    def __init__(self, kind: str, program: str) -> None:
        self.kind = kind
        self.program = program

    def missing_program(self) -> tuple[str, str] | None:
        return (f"{self.program} CLI ({self.program})", f"get {self.program}") if self.program else None

    def warnings(self) -> Sequence[str]:
        return ("it does what it wants",)

    def open(self, context: AgentContext) -> AbstractAsyncContextManager[AgentSession]:
        raise AssertionError("doctor opens no session")


def test_programs_that_are_missing_are_one_line_and_what_their_agents_may_do_is_none() -> None:
    backends = {
        each.kind: each for each in (Absent("b", "bee"), Absent("b-mini", "bee"), Absent("a", "ant"), Absent("c", ""))
    }
    plugins = cast("Plugins", SimpleNamespace(reports=(), problems=(), backends=backends))
    found = [each for each in check_plugins(plugins) if each.level == "note"]
    assert [(each.check, each.found, each.fix) for each in found] == [
        ("not installed", "a: ant CLI (ant)", "get ant"),
        ("not installed", "b, b-mini: bee CLI (bee)", "get bee"),
        ("kinds of agents", "c: it does what it wants", ""),
    ]
    shown = shortened(found)
    assert [each.found for each in shown] == ["the programs of a, b, b-mini", "c: it does what it wants"]
    assert "tt doctor --json" in shown[0].fix
    assert shortened(found[1:]) == found[1:]


def test_settings_without_an_id_or_not_in_git_are_noted(tt: Shell) -> None:
    settings = tt.directory / "tinytown.toml"
    settings.write_text('name = "here"\n')
    (note,) = findings(tt)["settings"]
    assert note["fix"].startswith('add id = "here-')
    settings.write_text('name = "here"\nid = "here-1"\n')
    assert "settings" not in findings(tt)
    subprocess.run(["git", "init", "-q"], cwd=tt.directory, check=True)
    (note,) = findings(tt)["settings"]
    assert note["found"] == f"{settings} is not in git"
    subprocess.run(["git", "add", "."], cwd=tt.directory, check=True)
    assert "settings" not in findings(tt)


def test_records_that_vanished_are_named_and_cost_no_list_its_others(tt: Shell) -> None:
    tt("init", "--name", "gaps")
    for name in ("ada", "bob"):
        tt("spawn", name)
    kept = tt("assign", "ada", "stays", "--json").json["task_id"]
    gone = tt("assign", "ada", "goes", "--json").json["task_id"]
    with linked(tt) as town:
        base = town.operations.keys.base
        bob = town.run(town.operations.agent("bob"))
        town.client.command("DEL", f"{base}:task:{gone}", f"{base}:agent:{bob.id}")
    assert [task["id"] for task in tt("task", "list", "--json").json["tasks"]] == [kept]
    assert [agent["name"] for agent in tt("list", "--json").json["agents"]] == ["ada"]
    assert [agent["name"] for agent in tt("status", "--json").json["agents"]] == ["ada"]
    assert kept in tt("save", "-").out
    found = [finding["found"] for finding in findings(tt, "--no-task", code=1)["records"]]
    assert found == [
        f"1 agent record vanished from the server: {bob.id}",
        f"1 task record vanished from the server: {gone}",
    ]


def test_a_server_that_may_delete_what_it_was_given_is_a_problem(tt: Shell) -> None:
    tt("init", "--name", "evicting")
    with linked(tt) as town:
        town.client.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    found = findings(tt, "--no-task", code=1)["server memory"]
    assert "its maxmemory-policy is allkeys-lru" in found[0]["found"]
    assert "noeviction" in found[0]["fix"]


def test_rights_that_the_user_of_the_server_lacks_are_named(tt: Shell) -> None:
    tt("init", "--name", "rights")
    with linked(tt) as town:
        town.client.command("ACL", "SETUSER", "default", "-config", "-publish")
        try:
            (found,) = list(check_rights(town))
        finally:
            town.client.command("ACL", "SETUSER", "default", "+@all")
        assert "may not use PUBLISH, CONFIG" in found.found
        assert list(check_rights(town)) == []


def test_the_rights_that_the_manual_names_are_enough_for_a_town_at_work(tt: Shell) -> None:
    page = Path(__file__).parents[3] / "docs" / "hosts.md"
    if not page.is_file():
        pytest.skip("the manual is not beside the plugin")
    (rules,) = [line for line in page.read_text().splitlines() if line.startswith("user town ")]
    tt("init", "--name", "shop")
    with linked(tt) as town:
        town.client.command("ACL", "SETUSER", *rules.replace("PASSWORD", "secret").split()[1:])
        url = f"unix://town:secret@{town.client.address.path}"
    environment = {"REDIS_URL": url}
    tt("start", "--background", env=environment)
    tt("spawn", "ada", "--cli", "shell", env=environment)
    tt("assign", "ada", "echo done", env=environment)
    tt("wait", "ada", env=environment)
    (task,) = tt("task", "list", "--json", env=environment).json["tasks"]
    assert task["state"] == "completed"
    assert "server rights" not in findings(tt, "--no-task", env=environment)
    tt("stop", env=environment)


def test_a_server_that_asks_for_no_password_is_named(tt: Shell) -> None:
    tt("init", "--name", "open")
    with linked(tt) as town:
        assert list(check_access(town)) == []
        town.client.command("CONFIG", "SET", "requirepass", "")
        (found,) = list(check_access(town))
    assert (found.level, found.check) == ("note", "server access")
    assert "lets in whoever reaches it" in found.found


def test_a_town_without_the_plugin_that_limits_rounds_is_a_problem(tt: Shell) -> None:
    tt("init", "--name", "free")
    assert "rights" not in findings(tt, "--no-task")
    (found,) = findings(tt, "--no-task", code=1, env={"TINYTOWN_BLOCK": "authority"})["rights"]
    assert found["level"] == "problem"
    assert found["fix"] == "pip install tinytown-authority"
