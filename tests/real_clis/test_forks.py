"""Rounds of real CLIs that start from a copy of another agent's session, by what their models are asked."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import msgspec
import pytest
import trio
from tinytown.contracts import Failed, Finished, Lost, Outcome
from tinytown.model.tasks import Task
from tinytown.state import state_directory
from tinytown_testing import ReportRecorder

from tests.real_clis.clis import REAL_CLIS, RealCli, git
from tests.real_clis.processes import started_processes, until
from tests.real_clis.test_rounds import Seat, Stage, asked, stage

__all__ = ["stage"]  # a fixture

pytestmark = pytest.mark.real_clis

SECRET = "remember the colour teal"


@pytest.fixture(params=[cli for cli in REAL_CLIS if cli.forks_sessions], ids=lambda cli: cli.kind)
def cli(request: pytest.FixtureRequest) -> RealCli:
    found: RealCli = request.param
    return found


def fork_of(stage: Stage, agent: str, outcome: Outcome) -> Task:
    """A task that starts from the session in which an agent's round has ended."""
    assert isinstance(outcome, Finished)
    task = stage.sandbox.task("build it")
    return msgspec.structs.replace(task, meta={"fork": {"agent": agent, "session_id": outcome.session_id}})


def elsewhere(stage: Stage, name: str) -> Path:
    """Another directory to work in."""
    directory = stage.sandbox.base / name
    directory.mkdir()
    git(directory, "init", "-q")
    return directory


@pytest.mark.parametrize("state", ["agent", "user"])
async def test_several_rounds_start_from_one_session_which_stays_as_it_is(stage: Stage, state: str) -> None:
    async with stage.session("ada", state=state) as ada:
        first = await ada.run({"text": "noted", "usage": {"input": 50_000, "output": 100}}, say=SECRET)
        forks: list[Outcome] = []
        for name in ("ben", "cleo"):
            directory, task = elsewhere(stage, f"of-{name}"), fork_of(stage, "ada", first)
            async with stage.session(name, state=state) as agent:
                what = f"build the part of {name}"
                forked = await agent.run(
                    {"shell": "pwd > here.txt"}, {"text": "done"}, say=what, task=task, directory=directory
                )
                assert isinstance(forked, Finished), forked
                assert SECRET in asked(stage)
                assert f"You are {name}, and your workspace is {directory}" in asked(stage)
                assert (directory / "here.txt").read_text().strip() == str(directory)
                assert forked.usage is not None
                assert forked.usage.input_tokens < 50_000
                again = await agent.run({"text": "again"}, say="and now", directory=directory)
                assert isinstance(again, Finished)
                assert again.session_id == forked.session_id
                assert SECRET in asked(stage)
                assert what in asked(stage)
                forks.append(forked)
        last = await ada.run({"text": "still here"}, say="go on")
    assert isinstance(first, Finished)
    assert isinstance(last, Finished)
    assert last.session_id == first.session_id
    assert SECRET in asked(stage)
    assert "build the part of" not in asked(stage)
    ids = {each.session_id for each in (first, *forks) if isinstance(each, Finished)}
    assert len(ids) == 3


async def test_a_fork_can_be_forked(stage: Stage) -> None:
    async with stage.session("ada") as ada:
        outcome: Outcome = await ada.run({"text": "noted"}, say=SECRET)
    for name, parent in (("ben", "ada"), ("cleo", "ben"), ("ada", "cleo")):
        async with stage.session(name) as agent:
            task = fork_of(stage, parent, outcome)
            outcome = await agent.run({"text": "done"}, say=f"said to {name}", task=task)
    assert isinstance(outcome, Finished)
    for text in (SECRET, "said to ben", "said to cleo", "said to ada"):
        assert text in asked(stage)


async def test_codex_exec_forks_too(stage: Stage) -> None:
    if stage.cli.kind != "codex":
        pytest.skip("this is about one of its ways to run")
    async with stage.session("ada", app_server=False) as ada:
        first = await ada.run({"text": "noted", "usage": {"input": 50_000, "output": 100}}, say=SECRET)
    async with stage.session("ben", app_server=False) as ben:
        forked = await ben.run({"text": "done"}, task=fork_of(stage, "ada", first))
        assert isinstance(forked, Finished), forked
        assert SECRET in asked(stage)
        assert forked.usage is not None
        assert forked.usage.input_tokens < 50_000
        again = await ben.run({"text": "again"}, say="and now")
    assert isinstance(again, Finished)
    assert again.session_id == forked.session_id
    assert SECRET in asked(stage)


async def test_after_a_kill_the_next_attempt_resumes_the_fork(stage: Stage) -> None:
    async with stage.session("ada") as ada:
        first = await ada.run({"text": "noted"}, say=SECRET)
    task, begun, go_on = fork_of(stage, "ada", first), stage.sandbox.work / "begun", stage.sandbox.work / "go-on"
    outcomes: list[Outcome] = []

    async def attempt(ben: Seat) -> None:
        wait = {"shell": f"echo x >> {begun.name}; until [ -e {go_on.name} ]; do sleep 0.1; done"}
        outcomes.append(await ben.run(wait, {"text": "done"}, say="the first attempt", task=task))

    async with stage.session("ben") as ben, trio.open_nursery() as nursery:
        nursery.start_soon(attempt, ben)
        await until(begun.exists)
        for pid in started_processes(stage.sandbox.root):
            os.kill(pid, signal.SIGKILL)
    assert isinstance(outcomes[0], Lost)
    async with stage.session("ben") as ben:
        again = await ben.run({"text": "done"}, say="the second attempt", task=task)
    assert isinstance(again, Finished)
    assert SECRET in asked(stage)
    assert "the first attempt" in asked(stage)


async def test_a_session_that_is_in_use_is_forked_as_it_is(stage: Stage) -> None:
    async with stage.session("ada") as ada:
        first = await ada.run({"text": "noted"}, say=SECRET)
        begun, go_on = stage.sandbox.work / "begun", stage.sandbox.work / "go-on"
        outcomes: list[Outcome] = []

        async def work() -> None:
            wait = {"shell": f"touch {begun.name}; until [ -e {go_on.name} ]; do sleep 0.1; done"}
            outcomes.append(await ada.run(wait, {"text": "end"}, say="meanwhile", report=ReportRecorder()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            await until(begun.exists)
            async with stage.session("ben") as ben:
                forked = await ben.run({"text": "done"}, task=fork_of(stage, "ada", first))
            assert SECRET in asked(stage)
            go_on.touch()
    assert isinstance(forked, Finished), forked
    assert isinstance(outcomes[0], Finished)
    assert outcomes[0].text == "end"


async def test_without_the_session_the_task_fails_for_good(stage: Stage) -> None:
    async with stage.session("ada") as ada:
        first = await ada.run({"text": "noted"}, say=SECRET)
    shutil.rmtree(next(state_directory(stage.sandbox.root).glob(f"agents/ada/{stage.cli.place}/state")))
    asked_before = len(stage.server.model_requests)
    async with stage.session("ben") as ben:
        outcome = await ben.run({"text": "never"}, task=fork_of(stage, "ada", first))
    assert isinstance(outcome, Failed)
    assert not outcome.retryable
    assert "of ada" in outcome.reason
    assert len(stage.server.model_requests) == asked_before
