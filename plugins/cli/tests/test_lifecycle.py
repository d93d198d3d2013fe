"""Holding and freezing, taking back and pruning, restarts and recovery, as they are typed."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest
from tinytown.config import load_config
from tinytown.redis import parse_url
from tinytown_cli.blocking_client import BlockingClient
from tinytown_server.daemon import await_end
from tinytown_testing.shell import Shell


def test_a_task_is_held_for_a_while_and_released(in_town: Shell) -> None:
    id_ = in_town("backlog", "add", "work", "--json").json["task_id"]
    held = in_town("task", "hold", id_, "--reason", "wait for the design", "--until", "2h", "--json").json
    assert (held["state"], held["reason"]) == ("blocked", "held: wait for the design")
    assert held["held_until"] > held["since"]
    assert "held: wait for the design" in in_town("task", "show", id_).out
    assert id_ not in in_town("backlog", "list").out
    assert in_town("task", "release", id_[:8]).out.startswith(f"task {id_} is pending")
    assert in_town("task", "release", id_, "--json", code=4).error["code"] == "refused"


@pytest.mark.parametrize("made", [("assign", "taker"), ("backlog", "add")])
def test_a_task_can_be_created_held(in_town: Shell, made: tuple[str, ...]) -> None:
    if made[0] == "assign":
        in_town("spawn", "taker")
    until = ("--hold", "wait for the design", "--hold-until", "2h")
    id_ = in_town(*made, "work", *until, "--json").json["task_id"]
    task = in_town("task", "show", id_, "--json").json
    assert (task["state"], task["held"]) == ("blocked", "wait for the design")
    assert task["held_until"] > task["since"]
    assert ": held: later" in in_town(*made, "more", "--hold", "later").out
    assert in_town("task", "release", id_, "--json").json["state"] in ("assigned", "pending")
    before = len(in_town("task", "list", "--json").json["tasks"])
    for bad in (("--hold", ""), ("--hold-until", "2h"), ("--hold", "x", "--hold-until", "soon")):
        assert in_town(*made, "work", *bad, "--json", code=2).error["code"] == "usage"
    assert "a time in the future" in in_town(*made, "work", "--hold", "x", "--hold-until", "2020-01-01", code=2).err
    assert len(in_town("task", "list", "--json").json["tasks"]) == before


def test_backlog_add_warns_if_no_agent_will_take_the_task(in_town: Shell) -> None:
    in_town("spawn", "smith", "--role", "mason", "--tags", "iron")
    lost = in_town("backlog", "add", "anything", "--role", "poet", "--json")
    assert lost.json["remarks"] == ["no agent has the role poet"]
    assert f"tt backlog claim {lost.json['task_id'][:8]} AGENT assigns it" in lost.err
    assert (
        "no agent has the tag wood; tt spawn NAME --tags wood" in in_town("backlog", "add", "x", "--tags", "wood").err
    )
    assert in_town("backlog", "add", "x", "--role", "mason").err == ""
    assert in_town("backlog", "add", "x", "--tags", "iron,wood", "--json").json["remarks"] == []


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--reason", ""), 2),
        ((), 2),
        (("--reason", "x", "--until", "soon"), 2),
        (("--reason", "x", "--until", "2001-01-01"), 2),
        (("--reason", "x\x01"), 2),
        (("--reason", "x" * 10_001), 2),
    ],
)
def test_an_invalid_hold_is_an_error_of_one_line(in_town: Shell, words: tuple[str, ...], code: int) -> None:
    id_ = in_town("backlog", "add", "work", "--json").json["task_id"]
    assert "Traceback" not in in_town("task", "hold", id_, *words, code=code).err
    assert in_town("task", "show", id_, "--json").json["state"] == "pending"


def test_freezing_and_thawing_are_reported(in_town: Shell) -> None:
    answer = in_town("estop", "--reason", "the bill", "--json").json
    assert (answer["was_frozen"], answer["frozen"]["reason"], answer["hosts"]) == (False, "the bill", [])
    assert "was already frozen" in in_town("estop").out
    assert "the bill; resume with: tt thaw" in in_town("status").out
    assert in_town("status", "--json").json["frozen"]["reason"] == "the bill"
    assert in_town("thaw", "--json").json == {"was_frozen": True}
    assert "was not frozen" in in_town("thaw").out
    assert in_town("status", "--json").json["frozen"] is None


@pytest.fixture
def left_behind(tt: Shell) -> Shell:
    """With a stopped agent that has two tasks, one of which needs the other, and mail; and with rita, who continues."""
    tt("init")
    tt("spawn", "gone")
    tt("spawn", "rita")
    first = tt("assign", "gone", "first", "--json").json["task_id"]
    tt("assign", "gone", "second", "--needs", first)
    for text, kind in (("do this too", None), ("is it done?", "--query"), ("by the way", "--info")):
        tt("send", "gone", text, *([kind] if kind else []))
    tt("send", "gone", "at once", "--urgent")
    tt("kill", "gone")
    return tt


def inbox(tt: Shell, agent: str) -> list[str]:
    messages = tt("inbox", agent, "--json").json["messages"]
    return [
        next(message[k] for k in ("description", "question", "summary", "task_id") if k in message)
        for message in messages
    ]


def test_one_unknown_name_among_several_changes_no_agent(left_behind: Shell) -> None:
    for command in ("interrupt", "close", "kill", "restart", "resume", "remove"):
        assert "nobody" in left_behind(command, "rita", "nobody", code=3).err
    listed = {agent["name"]: agent["desired_state"] for agent in left_behind("list", "--json").json["agents"]}
    assert listed == {"gone": "stopped", "rita": "running"}
    twice = left_behind("interrupt", "rita", "RITA", "--json").json["agents"]
    assert [agent["name"] for agent in twice] == ["rita"]


def test_reclaim_without_a_destination_is_a_preview(left_behind: Shell) -> None:
    def everything() -> object:
        return [left_behind(*words, "--json").json for words in (("list",), ("task", "list"), ("inbox", "gone"))]

    before = everything()
    answer = left_behind("reclaim", "--json").json
    assert (answer["action"], answer["to"]) == ("preview", None)
    ((row),) = answer["agents"]
    assert (row["agent"], len(row["tasks"]), len(row["messages"])) == ("gone", 2, 4)
    assert "nothing was changed" in left_behind("reclaim").out
    assert everything() == before


def test_tasks_and_mail_are_moved_to_another_agent_in_order(left_behind: Shell) -> None:
    row = left_behind("reclaim", "--to", "rita", "--json").json["agents"][0]
    assert (len(row["tasks"]), len(row["messages"])) == (2, 4)
    listed = left_behind("task", "list", "--agent", "rita", "--json").json["tasks"]
    assert sorted(task["state"] for task in listed) == ["assigned", "blocked"]
    assert [message for message in inbox(left_behind, "rita") if message not in row["tasks"]] == [
        "at once", "do this too", "is it done?", "by the way",
    ]  # fmt: skip
    assert all(message["to"] == "rita" for message in left_behind("inbox", "rita", "--json").json["messages"])
    assert inbox(left_behind, "gone") == []
    assert "nothing to take back" in left_behind("reclaim", "--to", "rita").out


def test_reclaim_to_the_backlog_moves_tasks_and_orders_and_keeps_other_mail(left_behind: Shell) -> None:
    row = left_behind("reclaim", "--to-backlog", "--json").json["agents"][0]
    assert (len(row["tasks"]), len(row["messages"]), len(row["made"])) == (2, 0, 2)
    backlog = left_behind("backlog", "list", "--json").json["tasks"]
    assert [task["description"] for task in backlog] == ["at once", "first", "do this too"]
    assert inbox(left_behind, "gone") == ["is it done?", "by the way"]


def test_orphan_tasks_are_cancelled_or_deleted_and_the_mail_is_kept(left_behind: Shell) -> None:
    assert len(left_behind("reclaim", "--orphan-tasks", "--json").json["agents"][0]["tasks"]) == 2
    answer = left_behind("reclaim", "--orphan-tasks", "--cancel", "--json").json
    assert answer["action"] == "cancelled"
    states = [task["state"] for task in left_behind("task", "list", "--json").json["tasks"]]
    assert states == ["cancelled", "cancelled"]
    assert len(inbox(left_behind, "gone")) == 4
    left_behind("reclaim", "--cancel", code=2)
    left_behind("reclaim", "--orphan-tasks", "--cancel", "--delete", code=2)


def test_a_task_that_another_needs_is_not_deleted_and_the_rest_are(left_behind: Shell) -> None:
    second, first = (task["id"] for task in left_behind("task", "list", "--json").json["tasks"])
    free = left_behind("backlog", "add", "more", "--json").json["task_id"]
    left_behind("spawn", "gone-too")
    left_behind("backlog", "claim", free, "gone-too")
    left_behind("kill", "gone-too")
    third = left_behind("assign", "rita", "third", "--needs", first, "--json").json["task_id"]
    result = left_behind("reclaim", "--orphan-tasks", "--delete", "--json", code=4)
    assert result.error["code"] == "partly_done"
    assert f"task {third} needs {first}" in result.error["message"]
    assert {row["agent"]: (row["tasks"], [task["task"] for task in row["left"]]) for row in result.json["agents"]} == {
        "gone": ([second], [first]),
        "gone-too": ([free], []),
    }
    assert left_behind("task", "show", first, "--json").json["state"] == "assigned"
    left_behind("task", "show", second, code=3)


def test_tasks_that_need_each_other_are_deleted_together(left_behind: Shell) -> None:
    assert len(left_behind("reclaim", "--orphan-tasks", "--delete", "--json").json["agents"][0]["tasks"]) == 2
    assert left_behind("task", "list", "--json").json["tasks"] == []


def test_mail_for_a_full_mailbox_is_kept_and_the_rest_is_moved(left_behind: Shell) -> None:
    left_behind("spawn", "small")
    left_behind("send", "small", "only this")
    left_behind("kill", "small")
    config = load_config(left_behind.directory)
    with BlockingClient(parse_url(left_behind.server().url)) as client:
        client.command("HSET", f"tt:{{{config.name}}}:meta", "mailbox_messages", "3")
    result = left_behind("reclaim", "--to", "rita", "--json", code=4)
    assert {row["agent"]: (len(row["messages"]), len(row["left"])) for row in result.json["agents"]} == {
        "gone": (0, 1),
        "small": (1, 0),
    }
    assert inbox(left_behind, "rita") == ["only this"]
    assert len(inbox(left_behind, "gone")) == 5


@pytest.mark.parametrize("to", ["gone", "nobody", "supervisor"])
def test_an_invalid_receiver_is_refused_and_nothing_is_moved(left_behind: Shell, to: str) -> None:
    code = {"gone": 0, "nobody": 3, "supervisor": 4}[to]
    left_behind("reclaim", "--to", to, code=code)
    assert len(inbox(left_behind, "gone")) == 5
    left_behind("reclaim", "--from", "gone", "--to", "gone", code=2)


def test_prune_moves_tasks_to_the_backlog_and_mail_to_another_agent(left_behind: Shell) -> None:
    answer = left_behind("prune", "--dry-run", "--json").json
    assert (answer["dry_run"], [agent["agent"] for agent in answer["agents"]]) == (True, ["gone"])
    assert left_behind("prune", "--older-than", "1h", "--json").json["agents"] == []
    left_behind("prune", "rita", code=4)
    left_behind("prune", "--mail-to", "gone", code=2)
    answer = left_behind("prune", "--mail-to", "rita", "--json").json
    assert [(agent["agent"], len(agent["tasks"]), len(agent["messages"])) for agent in answer["agents"]] == [
        ("gone", 2, 4)
    ]
    assert [agent["name"] for agent in left_behind("list", "--json").json["agents"]] == ["rita"]
    assert len(inbox(left_behind, "rita")) == 4
    assert [task["state"] for task in left_behind("task", "list", "--json").json["tasks"]] == ["blocked", "pending"]
    assert left_behind("dead", "list", "--json").json["dead"] == []


def test_a_running_agent_is_pruned_with_force_only_and_its_mail_becomes_dead_letters(left_behind: Shell) -> None:
    left_behind("send", "rita", "hello", "--info")
    left_behind("prune", "rita", "gone", "--force")
    assert left_behind("list", "--json").json["agents"] == []
    letters = left_behind("dead", "list", "--json").json["dead"]
    assert len(letters) == 5
    assert {letter["reason"] for letter in letters} == {"agent rita was removed", "agent gone was removed"}
    assert "no agent to prune" in left_behind("prune").out


def test_restart_continues_an_agent_that_reached_max_rounds(tt: Shell) -> None:
    tt("init")
    tt("spawn", "ann", "--cli", "echo", "--max-rounds", "1")
    tt("start", "--background")
    tt("send", "ann", "first", "--query")
    agent = tt("wait", "ann", "--for", "stopped", "--timeout", "60", "--json").json["agents"][0]
    assert agent["reason"] == "max_rounds reached (1); tt restart continues"
    agent = tt("restart", "ann", "--rounds", "2", "--json").json["agents"][0]
    assert (agent["rounds_completed"], agent["max_rounds"]) == (0, 2)
    tt("send", "ann", "second", "--query")
    tt("wait", "ann", "--timeout", "60")
    assert tt("list", "--json").json["agents"][0]["rounds_completed"] == 1
    assert tt("wait", "ann", "--for", "error", "--timeout", "0.2", "--json", code=1).error["code"] == "timeout"
    tt("stop")


def test_recover_shows_what_a_killed_kernel_left_and_sweeps_it_with_now(tt: Shell) -> None:
    tt("init")
    tt("spawn", "ann", "--cli", "echo")
    assert "ann is starting" in tt("recover").out
    pid = tt("start", "--background", "--json").json["pid"]
    tt("wait", "ann", "--timeout", "60")
    answer = tt("recover", "--json").json
    assert ([host["state"] for host in answer["hosts"]], answer["agents"], answer["processes"]) == (["alive"], [], [])
    assert tt("recover", "--now", "--json").json["hosts"][0]["state"] == "alive"
    os.kill(pid, signal.SIGKILL)
    await_end(pid, time.monotonic() + 30)
    marks = {"TINYTOWN_TOWN": str(tt.directory), "TINYTOWN_ROUND_ID": "of-old"}
    with subprocess.Popen(["sleep", "1000"], env={**os.environ, **marks}) as orphan:
        try:
            answer = tt("recover", "--json").json
            assert [host["state"] for host in answer["hosts"]] == ["killed"]
            assert answer["processes"] == [{"pid": orphan.pid, "name": "sleep", "run": "of-old"}]
            assert orphan.poll() is None, "looking ends nothing"
            assert f"process {orphan.pid} (sleep) of an earlier kernel was ended" in tt("recover", "--now").out
            assert orphan.wait(timeout=30) == -signal.SIGKILL
        finally:
            orphan.kill()
    answer = tt("recover", "--json").json
    assert (answer["hosts"], answer["processes"], [agent["agent"] for agent in answer["agents"]]) == ([], [], ["ann"])
    assert "no kernel is running" in tt("recover").out
