"""The server is killed, frozen, or loses what it knows, while agents are idle and while they work."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
import trio
from tinytown.contracts import Finished
from tinytown.errors import ServerUnreachable
from tinytown.protocol import SCHEMA
from tinytown.protocol.function_library import TOWN_LIBRARY
from tinytown_cli import administration

SHELL = 'default_cli = "shell"\n'


def kill_server(town_dir: Any) -> int:
    pid: int = town_dir.server.pid()
    os.kill(pid, signal.SIGKILL)
    return pid


@pytest.mark.faults
async def test_idle_agents_go_on_when_the_server_was_killed(town_dir, scripted_backend) -> None:
    async with town_dir.open() as town:
        agents = [await town.spawn(f"a{number}") for number in range(10)]
        await town.wait_for_idle()
        host = town_dir.kernel.host_id
        for _ in range(3):
            pid = kill_server(town_dir)
            began = trio.current_time()
            tasks = [await agent.assign("do it") for agent in agents]
            for task in tasks:
                assert (await town.wait_for_task(task.id)).state == "completed"
            assert trio.current_time() - began < 5
            assert town_dir.server.pid() != pid
        assert town_dir.kernel.host_id == host  # the lease was kept


@pytest.mark.faults
async def test_rounds_in_progress_outlast_a_killed_server_and_are_stored(town_dir, scripted_backend) -> None:
    go_on = trio.Event()

    async def work(work: Any, report: Any) -> Finished:
        await go_on.wait()
        return Finished(text="survived")

    scripted_backend.script = work
    async with town_dir.open() as town:
        agents = [await town.spawn(f"a{number}") for number in range(5)]
        tasks = [await agent.assign("do it") for agent in agents]
        await scripted_backend.wait_for_rounds(5)
        kill_server(town_dir)
        go_on.set()
        for task in tasks:
            done = await town.wait_for_task(task.id)
            assert (done.state, done.result, done.attempts) == ("completed", "survived", 1)


@pytest.mark.faults
async def test_a_server_frozen_for_longer_than_a_lease_ends_the_rounds_and_they_are_done_again(
    town_dir, scripted_backend
) -> None:
    town_dir.configure("lease_s = 0.6\n")
    ways = ["hang", "hang"]

    async def work(work: Any, report: Any) -> Finished:
        if ways:
            ways.pop()
            await trio.sleep_forever()
        return Finished(text="done again")

    scripted_backend.script = work
    async with town_dir.open() as town:
        agents = [await town.spawn(f"a{number}") for number in range(2)]
        idle = await town.spawn("idle")
        await idle.wait_for_idle()
        tasks = [await agent.assign("do it") for agent in agents]
        await scripted_backend.wait_for_rounds(2)
        pid = town_dir.server.pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            while any(worker._runner._scope for worker in town_dir.kernel.placement.workers.values()):  # noqa: ASYNC110
                await trio.sleep(0.02)  # until the kernel itself has cut the rounds off
        finally:
            os.kill(pid, signal.SIGCONT)
        for task in tasks:
            done = await town.wait_for_task(task.id)
            assert (done.state, done.result) == ("completed", "done again")
        assert (await town.wait_for_task((await idle.assign("and you")).id)).state == "completed"


@pytest.mark.faults
async def test_a_server_that_is_away_for_longer_than_anybody_waits_orphans_no_agent(
    town_dir, scripted_backend, monkeypatch
) -> None:
    import functools

    import tinytown.town
    from tinytown.redis.link import open_link

    # Whoever needs the server gives up after half a second instead of ten.
    monkeypatch.setattr(tinytown.town, "open_link", functools.partial(open_link, offline_wait_s=0.5))
    async with town_dir.open() as town:
        agents = [await town.spawn(f"a{number}") for number in range(5)]
        await town.wait_for_idle()
        binary = town_dir.state / "redis.sock"
        pid = town_dir.server.pid()
        os.kill(pid, signal.SIGSTOP)
        os.rename(binary, binary.with_suffix(".away"))  # who connects anew finds nothing
        for worker in town_dir.kernel.placement.workers.values():
            worker.notify("mail")  # all of them look, and cannot
        os.kill(pid, signal.SIGKILL)
        with trio.move_on_after(1.5):
            await trio.sleep_forever()
        tasks = []
        while len(tasks) < 5:
            try:
                tasks.append(await agents[len(tasks)].assign("do it"))
            except tinytown.errors.ServerUnreachable:
                continue
        for task in tasks:
            assert (await town.wait_for_task(task.id)).state == "completed"


async def test_a_server_that_lost_its_functions_gets_them_again(town_dir, scripted_backend) -> None:
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        await agent.wait_for_idle()
        for _ in range(3):
            await town.link.command("FUNCTION", "FLUSH")
            assert (await town.wait_for_task((await agent.assign("do it")).id)).state == "completed"


@pytest.mark.parametrize("lost", ["claim", "task_start"])
async def test_mail_whose_claim_got_no_answer_is_claimed_again_and_not_overtaken(
    town_dir, scripted_backend, lost
) -> None:
    town_dir.configure("lease_s = 6.0\n")  # an agent looks again after a third of it
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        await agent.wait_for_idle()
        run, answers = town.run, list[str]()

        async def run_with_a_lost_answer(call: Any) -> Any:
            answer = await run(call)
            if str(call.command[1]).endswith(f"_{lost}") and (lost != "claim" or answer.deliveries):
                answers.append(lost)
                if len(answers) == 1:
                    raise ServerUnreachable("the connection broke")
            return answer

        town.run = run_with_a_lost_answer
        tasks = [await agent.assign(f"number {number}") for number in range(3)]
        for task in tasks:
            done = await town.wait_for_task(task.id)
            assert done.state == "completed"
        assert len(answers) > len(tasks)
        ended = [event["task"] for event in await town_dir.wait_for_events(town, len(tasks), "round_ended")]
        assert ended == [task.id for task in tasks]


async def test_functions_lost_in_the_middle_of_rounds_do_no_harm(town_dir, scripted_backend) -> None:
    async with town_dir.open() as town:
        agents = [await town.spawn(f"a{number}") for number in range(5)]
        tasks = []
        for number in range(40):
            tasks.append(await agents[number % 5].assign("do it"))
            if number % 4 == 0:
                await town.link.command("FUNCTION", "FLUSH")
        await town.wait_for_idle()
        assert {(await town.task(task.id)).state for task in tasks} == {"completed"}


async def test_a_town_that_was_emptied_begins_anew_and_says_so(town_dir, scripted_backend, scripted_answers) -> None:
    async def forever(work: Any, report: Any) -> None:
        await trio.sleep_forever()

    scripted_backend.script = scripted_answers(forever, Finished(text="a new life"))
    async with town_dir.open() as town:
        old = [await town.spawn(f"a{number}") for number in range(3)]
        await old[0].assign("do it")
        await scripted_backend.wait_for_rounds(1)
        host = town_dir.kernel.host_id
        await town.link.command("FLUSHALL")
        await town.wait_until(town.status, lambda status: len(status.hosts) == 1 and status.hosts[0].id != host)
        (event,) = await town_dir.wait_for_events(town, 1, "town_emptied")
        assert "must be created again" in event["text"]
        assert await town.agents() == ()
        assert scripted_backend.backends[0].closed == ["a0"]
        agent = await town.spawn("ada")
        assert (await town.wait_for_task((await agent.assign("do it")).id)).result == "a new life"
        assert (await town.status()).schema == str(SCHEMA)
    async with town_dir.connect() as town:
        assert (await town.status()).hosts == ()


@pytest.mark.faults
@pytest.mark.parametrize("function", ["claim", "task_start", "round_start"])
async def test_a_round_that_the_server_refuses_before_it_begins_returns_in_its_old_place(
    town_dir, scripted_backend, monkeypatch, function
) -> None:
    async with town_dir.open() as town, trio.open_nursery() as nursery:
        run, refused, accepted = town.run, trio.Event(), trio.Event()

        async def accept_again() -> None:
            while b"NOREPLICAS" not in await town.link.command("INFO", "errorstats"):  # noqa: ASYNC110
                await trio.sleep(0.01)
            await town.link.command("CONFIG", "SET", "min-replicas-to-write", "0")
            accepted.set()

        async def run_refused_once(operation: Any) -> Any:
            if operation.command[1] == TOWN_LIBRARY.function(function) and not refused.is_set():
                refused.set()
                await town.link.command("CONFIG", "SET", "min-replicas-to-write", "1")
                nursery.start_soon(accept_again)
            return await run(operation)

        agent = await town.spawn("ada")
        await agent.wait_for_idle()
        await agent.interrupt()
        await agent.wait_until(lambda agent: agent.state == "paused")
        tasks = [await agent.assign(f"do {number}") for number in (1, 2, 3)]
        monkeypatch.setattr(town, "run", run_refused_once)
        await agent.resume()
        await accepted.wait()
        for task in tasks:
            done = await town.wait_for_task(task.id)
            assert (done.state, done.attempts) == ("completed", 1)
        assert [work.task.description for work in scripted_backend.rounds] == ["do 1", "do 2", "do 3"]
        assert await town.run(administration.dead_letters(town.operations.keys)) == ()
