"""``tt wait`` for what will not come by itself ends, with the reason and the command that helps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tinytown_testing.shell import Shell

#: Runs a command that believes at once what may pass by itself.
IMPATIENT = (
    "-c",
    "import sys, tinytown_cli.waiting as waiting; waiting._PATIENCE_S = 0.0\n"
    "from tinytown_cli.main import run; sys.exit(run(sys.argv[1:]))",
)
LIMIT = ("--timeout", "60", "--json")


@pytest.fixture
def town(tt: Shell) -> Iterator[Shell]:
    tt("init", "--name", "waiting")
    tt("spawn", "ada", "--cli", "shell", "--no-start")
    return tt


def assign(town: Shell, *words: str) -> str:
    task: str = town.json("assign", "ada", "true", *words, "--no-start")["task_id"]
    return task


def test_a_task_that_needs_a_failed_one_will_not_finish(town: Shell) -> None:
    first = assign(town)
    second = assign(town, "--needs", first)
    third = assign(town, "--needs", second)
    town("task", "fail", first, "--reason", "the head\n" + "x" * 500 + "\nno such table: users")
    error = town("wait", "--task", third, *LIMIT, code=1).error
    assert error["code"] == "will_not_finish"
    assert (
        f"task {third} will not finish: it needs {second[:8]} (true): it needs {first[:8]} (true)" in error["message"]
    )
    assert error["message"].endswith("no such table: users")
    assert error["hint"] == f"tt task reopen {first}"
    agent = town("wait", "ada", *LIMIT, code=1).error
    assert agent["code"] == "will_not_be_idle"
    assert "no such table: users" in agent["message"]


def test_a_round_that_waits_for_itself_is_stopped_from_it(town: Shell) -> None:
    task = assign(town)
    other = assign(town, "--needs", task)
    inside = {"TINYTOWN_TOWN": str(town.directory), "TINYTOWN_AGENT_NAME": "ada", "TINYTOWN_TASK_ID": task}
    for what in (("ada",), ("--task", task), ("--task", other)):
        error = town("wait", *what, *LIMIT, code=1, env=inside).error
        assert "end the round" in error["hint"], error


def test_a_task_with_a_stopped_agent_will_not_finish(town: Shell) -> None:
    task = assign(town)
    town("kill", "ada")
    error = town("wait", "--task", task, *LIMIT, code=1).error
    assert (error["code"], error["hint"]) == ("will_not_finish", "tt resume ada")


def test_what_no_kernel_runs_ends_the_wait_once_that_has_lasted(town: Shell) -> None:
    task = assign(town)
    for what in (("ada",), ("--task", task)):
        error = town("wait", *what, *LIMIT, code=1, program=IMPATIENT).error
        assert "no kernel is running" in error["message"]
        assert error["hint"] == "tt start --background"
    alone = town.json("backlog", "add", "true", "--tags", "nobody")["task_id"]
    error = town("wait", "--task", alone, *LIMIT, code=1, program=IMPATIENT).error
    assert "no agent has the tag nobody" in error["message"]
