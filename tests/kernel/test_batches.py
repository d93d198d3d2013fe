"""Several tasks in one round: what is begun together, what each of them becomes, and what a round costs the others."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from tinytown.contracts import Failed, Finished, Gate, Interrupted, Usage, Verdict, Workspace
from tinytown.errors import NotFound, Refused, StaleLease
from tinytown.model.tasks import Task
from tinytown_cli import administration
from tinytown_ops.costs import ledger

BATCH = "[batch]\nkinds = { scripted = 3 }\n"


def reporting(town: Any, *ids: str, outcome: Any = None) -> Any:
    """A script whose agent reports those of its tasks that have these ids (all: none given), each with a result of its own."""

    async def script(work: Any, report: Any) -> Any:
        for task in work.tasks:
            if not ids or task.id in ids:
                await settle(town, task)
        return outcome or Finished(text="the end")

    return script


async def settle(town: Any, task: Task, verb: Any = "submit") -> Task:
    by = (await town.agent(task.assigned_to)).id
    done: Task = await town.run(
        town.operations.settle_task(verb, task.id, text=f"did {task.description}", by=by, token=task.token)
    )
    return done


async def assign(town: Any, agent: str, *words: str) -> list[Task]:
    """Tasks for an agent that is paused meanwhile, so that they are there together."""
    await town.run(town.operations.set_desired_state(agent, "paused"))
    await town.wait_until(lambda: town.run(town.operations.agent(agent)), lambda now: now.state == "paused")
    return [await town.add_task(word, agent=agent, task_id=word) for word in words]


async def resume(town: Any, agent: str) -> None:
    await town.run(town.operations.set_desired_state(agent, "running"))


def words_of(rounds: list[Any]) -> list[list[str]]:
    return [[task.description for task in round_.tasks] for round_ in rounds]


@pytest.fixture
def begun(town_dir, scripted_backend):
    """Opens a town with an agent `ada`, three tasks to a round, that has tasks with the given words."""

    @asynccontextmanager
    async def open_town(*words: str) -> AsyncGenerator[Any]:
        town_dir.configure(BATCH)
        async with town_dir.open() as town:
            await town.spawn("ada", role="clerk")
            await assign(town, "ada", *words)
            yield town

    return open_town


async def test_an_agent_takes_as_many_tasks_into_a_round_as_may_be_each_with_a_result_of_its_own(
    begun, scripted_backend
) -> None:
    async with begun(*"abcdefg") as town:
        scripted_backend.script = reporting(town)
        await resume(town, "ada")
        done = [await town.wait_for_task(word) for word in "abcdefg"]
        assert [(task.state, task.result, task.attempts) for task in done] == [
            ("completed", f"did {word}", 1) for word in "abcdefg"
        ]
        await (await town.agent("ada")).wait_for_idle()
        assert (await town.run(town.operations.agent("ada"))).rounds_completed == 3
        records = await town.run(administration.rounds(town.operations.keys, "ada", task="b"))
        assert [(record.task, record.tasks) for record in records] == [("a", ("a", "b", "c"))]
    assert words_of(scripted_backend.rounds) == [["a", "b", "c"], ["d", "e", "f"], ["g"]]
    first, _, last = scripted_backend.rounds
    assert first.task is None
    assert last.task is not None
    assert len({task.token for task in first.tasks}) == 1
    assert first.environment["TINYTOWN_TASK_ID"] == ""
    assert first.environment["TINYTOWN_TASK_TOKEN"] == first.tasks[0].token
    for word in "abc":
        assert f"### Task {word}" in first.prompt


@pytest.mark.parametrize(
    ("settings", "max_attempts", "size"),
    [
        ("", 3, 1),
        ("[batch]\nkinds = { scripted = 2 }", 3, 2),
        ("[batch]\nroles = { clerk = 4 }\nkinds = { scripted = 2 }", 3, 4),
        ("[batch]\nroles = { clerk = 1 }\nkinds = { scripted = 2 }", 3, 1),
        ("[batch]\nkinds = { scripted = 4 }", 1, 1),
    ],
)
async def test_the_role_decides_before_the_kind_and_a_last_attempt_is_alone(
    town_dir, scripted_backend, settings: str, max_attempts: int, size: int
) -> None:
    town_dir.configure(settings, max_attempts=max_attempts)
    async with town_dir.open() as town:
        await town.spawn("ada", role="clerk")
        await assign(town, "ada", *"abcd")
        scripted_backend.script = reporting(town)
        await resume(town, "ada")
        for word in "abcd":
            assert (await town.wait_for_task(word)).state == "completed"
    assert len(scripted_backend.rounds[0].tasks) == size


async def test_a_task_with_a_table_that_its_backend_needs_alone_shares_no_round(town_dir, scripted_backend) -> None:
    town_dir.configure(BATCH)
    scripted_backend.backends[0].single_tables = ("alone",)
    async with town_dir.open() as town:
        await town.spawn("ada")
        await assign(town, "ada", "a")
        await town.add_task("b", agent="ada", task_id="b", meta={"another": {}})
        await town.add_task("c", agent="ada", task_id="c", meta={"alone": {}})
        await town.add_task("d", agent="ada", task_id="d", meta={"alone": {}})
        scripted_backend.script = reporting(town)
        await resume(town, "ada")
        for word in "abcd":
            assert (await town.wait_for_task(word)).state == "completed"
    assert words_of(scripted_backend.rounds) == [["a", "b"], ["c"], ["d"]]


async def test_a_kind_whose_agents_cannot_report_gets_one_task_at_a_time(town_dir, scripted_backend) -> None:
    scripted_backend.backends[0].offers_town_tools = None
    town_dir.configure(BATCH)
    async with town_dir.open() as town:
        await town.spawn("ada")
        await assign(town, "ada", "a", "b")
        await resume(town, "ada")
        assert [(await town.wait_for_task(word)).result for word in "ab"] == ["did a", "did b"]


async def test_an_idle_agent_takes_a_batch_from_the_backlog(town_dir, scripted_backend) -> None:
    town_dir.configure(BATCH)
    async with town_dir.open() as town:
        for word in "abcd":
            await town.add_task(word, task_id=word)
        scripted_backend.script = reporting(town)
        await town.spawn("ada")
        for word in "abcd":
            assert (await town.wait_for_task(word)).state == "completed"
    assert words_of(scripted_backend.rounds) == [["a", "b", "c"], ["d"]]


async def test_what_is_not_reported_goes_back_to_its_old_place_and_costs_no_attempt(begun, scripted_backend) -> None:
    async with begun(*"abcd") as town:
        again = trio.Event()

        async def script(work: Any, report: Any) -> Finished:
            if len(scripted_backend.rounds) == 1:
                await settle(town, work.tasks[1])
                return Finished(text="no more today")
            again.set()
            return await reporting(town)(work, report)

        scripted_backend.script = script
        await resume(town, "ada")
        await again.wait()
        assert [(await town.wait_for_task(word)).attempts for word in "abcd"] == [1, 1, 1, 1]
    assert words_of(scripted_backend.rounds) == [["a", "b", "c"], ["a", "c", "d"]]
    assert scripted_backend.rounds[1].tasks[0].reason == "its last round ended without reporting on it"


async def test_rounds_that_report_nothing_cost_attempts_and_the_last_of_each_task_is_its_own(
    begun, scripted_backend
) -> None:
    async with begun(*"abc") as town:
        await resume(town, "ada")
        done = [await town.wait_for_task(word) for word in "abc"]
        # What an agent says in the end is the result of its only task.
        assert [(task.result, task.attempts) for task in done] == [(f"did {word}", 3) for word in "abc"]
    assert words_of(scripted_backend.rounds) == [["a", "b", "c"]] * 2 + [["a"], ["b"], ["c"]]


async def test_a_task_that_makes_its_rounds_fail_takes_no_other_with_it(begun, scripted_backend) -> None:
    async with begun(*"abc") as town:

        async def script(work: Any, report: Any) -> Any:
            if any(task.id == "b" for task in work.tasks):
                return Failed(reason="it broke", retryable=len(work.tasks) > 1)
            return Finished(text="fine")

        scripted_backend.script = script
        await resume(town, "ada")
        done = {word: await town.wait_for_task(word) for word in "abc"}
        assert {word: task.state for word, task in done.items()} == {"a": "completed", "b": "failed", "c": "completed"}
        assert {task.attempts for task in done.values()} == {3}


async def test_an_interrupted_round_costs_no_task_an_attempt(begun, scripted_backend, scripted_answers) -> None:
    async with begun(*"abc") as town:
        scripted_backend.script = scripted_answers(Interrupted(), reporting(town))
        await resume(town, "ada")
        assert [(await town.wait_for_task(word)).attempts for word in "abc"] == [1, 1, 1]
    assert words_of(scripted_backend.rounds) == [["a", "b", "c"]] * 2


@pytest.mark.parametrize("end", ["cancel", "requeue", "hold"])
async def test_a_task_that_is_taken_away_leaves_the_others_their_round_and_the_last_one_ends_it(
    begun, scripted_backend, end: str
) -> None:
    async with begun(*"abc") as town:
        ended = trio.Event()

        async def script(work: Any, report: Any) -> Finished:
            try:
                await trio.sleep_forever()
            finally:
                ended.set()

        def take(task: str) -> Any:
            keys = town.operations.keys
            if end == "cancel":
                return town.operations.settle_task("cancel", task)
            return (
                administration.requeue_task(keys, task)
                if end == "requeue"
                else administration.hold_task(keys, task, reason="later")
            )

        async def current() -> str | None:
            agent = await town.run(town.operations.agent("ada"))
            return agent.current_task

        scripted_backend.script = script
        await town.run(administration.hold_task(town.operations.keys, "c", reason="later"))
        await resume(town, "ada")
        await scripted_backend.wait_for_rounds(1)
        assert words_of(scripted_backend.rounds) == [["a", "b"]]
        assert await current() == "a"
        await town.run(town.operations.set_desired_state("ada", "paused"))  # after the round
        await town.run(take("a"))
        await trio.testing.wait_all_tasks_blocked(0.1)
        assert not ended.is_set()
        assert await current() == "b"
        with pytest.raises((StaleLease, Refused)):
            await settle(town, scripted_backend.rounds[0].tasks[0])
        await town.run(take("b"))
        await ended.wait()
        await town.wait_until(lambda: town.run(town.operations.agent("ada")), lambda now: now.state == "paused")
        assert not await current()


async def test_gates_verify_each_task_by_itself(begun, scripted_backend) -> None:
    class Picky(Gate):
        name = "picky"

        async def check(self, work: Any, directory: Path) -> Verdict:
            return Verdict(passed=work.task.id != "b" or work.task.attempts > 1, evidence="not like this")

    scripted_backend.gates.append(Picky())
    async with begun(*"abc") as town:
        scripted_backend.script = reporting(town)
        await resume(town, "ada")
        done = {word: await town.wait_for_task(word) for word in "abc"}
        assert {task.state for task in done.values()} == {"completed"}
        assert done["b"].rejection == "gate picky: not like this"
    assert words_of(scripted_backend.rounds) == [["a", "b", "c"], ["b"]]


async def test_a_task_whose_need_is_open_joins_no_batch_and_one_whose_need_is_reopened_is_blocked_again(
    begun, scripted_backend
) -> None:
    async with begun("need", "b") as town:
        await town.add_task("then", agent="ada", task_id="then", needs=["need"])

        async def script(work: Any, report: Any) -> Finished:
            ids = [task.id for task in work.tasks]
            if ids == ["then"] and len(scripted_backend.rounds) == 2:
                await town.run(administration.reopen_task(town.operations.keys, "need"))
                return Finished(text="for nothing")
            return await reporting(town)(work, report)

        scripted_backend.script = script
        await resume(town, "ada")
        assert (await town.wait_for_task("then")).state == "completed"
    assert words_of(scripted_backend.rounds) == [["need", "b"], ["then"], ["need"], ["then"]]


async def test_a_workspace_for_a_task_makes_rounds_of_one(town_dir, begun, scripted_backend) -> None:
    class Own(Workspace):
        name = "own"

        def claims(self, agent: Any, task: Task | None) -> bool:
            return task is not None and task.id == "b"

        @asynccontextmanager
        async def open(self, work: Any, purpose: Any) -> AsyncGenerator[Path]:
            yield work.root

    scripted_backend.workspaces.append(Own())
    async with begun(*"abc") as town:
        scripted_backend.script = reporting(town)
        await resume(town, "ada")
        assert [(await town.wait_for_task(word)).attempts for word in "abc"] == [1, 1, 1]
    assert words_of(scripted_backend.rounds) == [["a", "c"], ["b"]]


async def test_a_task_that_is_removed_meanwhile_leaves_the_others_theirs(begun, scripted_backend) -> None:
    async with begun(*"abc") as town:

        async def script(work: Any, report: Any) -> Finished:
            if len(work.tasks) > 1:
                await town.run(town.operations.settle_task("cancel", "b"))
                await town.run(administration.delete_task(town.operations.keys, "b"))
            return await reporting(town, "a", "c")(work, report)

        scripted_backend.script = script
        await resume(town, "ada")
        assert [(await town.wait_for_task(word)).state for word in "ac"] == ["completed", "completed"]
        with pytest.raises(NotFound):
            await town.task("b")


async def test_the_tasks_of_a_round_share_what_it_has_cost(begun, scripted_backend) -> None:
    async with begun(*"abc") as town:
        used = Usage(input_tokens=10, output_tokens=2, cached_tokens=4, cost_usd=0.000_005)
        scripted_backend.script = reporting(town, outcome=Finished(text="done", usage=used))
        await resume(town, "ada")
        for word in "abc":
            await town.wait_for_task(word)
        await (await town.agent("ada")).wait_for_idle()
        costs = await town.run(ledger.costs(town.operations.keys, by="task"))
        rows = {row.name: (row.rounds, row.input_tokens, row.cached_tokens, row.output_tokens) for row in costs.rows}
        assert rows == {"a": (1, 4, 2, 1), "b": (1, 3, 1, 1), "c": (1, 3, 1, 0)}
        assert (costs.total.rounds, costs.total.input_tokens, costs.total.usd) == (1, 10, 0.000_005)


async def test_two_hundred_tasks_take_twenty_rounds_of_ten(town_dir, scripted_backend) -> None:
    town_dir.configure("[batch]\nkinds = { scripted = 10 }")
    async with town_dir.open() as town:
        await town.spawn("ada")
        words = [f"t{number}" for number in range(200)]
        await assign(town, "ada", *words)
        scripted_backend.script = reporting(town)
        await resume(town, "ada")
        for word in words:
            assert (await town.wait_for_task(word)).attempts == 1
    assert [len(round_.tasks) for round_ in scripted_backend.rounds] == [10] * 20


_AGENT = """
import os, re, subprocess, sys, time
ids = re.findall("^### Task (\\\\S+)$", sys.stdin.read(), re.MULTILINE)
again = os.path.exists("begun")
for number, id_ in enumerate(ids):
    if number == 1 and not again:
        open("begun", "w").write("x")
        time.sleep(1000)
    subprocess.run(["tt", "task", "complete", id_, "--result", "did " + id_], check=True, stdout=subprocess.DEVNULL)
"""


@pytest.mark.faults
async def test_after_the_kill_of_a_kernel_what_was_not_reported_is_done_again(
    town_dir, start_kernel, wait_for_file
) -> None:
    agent = town_dir.root / "agent.py"
    agent.write_text(_AGENT)
    town_dir.configure(
        f'default_cli = "clerk"\n[agent_clis.clerk]\ncommand = ["{sys.executable}", "{agent}"]\n'
        "[batch]\nkinds = { clerk = 3 }\n"
    )
    async with town_dir.connect() as town:
        for word in "abc":
            await town.add_task(word, task_id=word)
        kernel = await trio.to_thread.run_sync(start_kernel)
        await town.spawn("ada")
        await wait_for_file(town_dir.root / "begun", "x")
        kernel.kill()
        assert (await town.task("a")).state in ("verifying", "completed")  # there may be gates
        await trio.to_thread.run_sync(kernel.start)
        done = [await town.wait_for_task(word) for word in "abc"]
        assert [(task.state, task.result, task.attempts) for task in done] == [
            ("completed", f"did {word}", 1) for word in "abc"
        ]
