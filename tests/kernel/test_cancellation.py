"""Cancelled at whatever moment, a town's block leaves nothing: no process, no lock, no host, no lease, no mail counted."""

from __future__ import annotations

import itertools
import os
import signal
from typing import Any

import pytest
import tinytown
import trio
from tinytown.kernel import running_kernel
from tinytown.model.results import Placement
from tinytown_cli import administration


async def use(town_dir: Any) -> None:
    async with tinytown.open_town(town_dir.root, kernel=True) as town:
        ada, bea = await town.agent("ada"), await town.agent("bea")
        await ada.assign("sleep 1000 & echo working; sleep 1000")
        await bea.assign("echo quick")
        await trio.sleep_forever()


@pytest.mark.faults
@pytest.mark.deadline_s(60)
async def test_cancelled_at_any_moment_a_kernel_leaves_nothing(town_dir) -> None:
    town_dir.configure('default_cli = "shell"\n', grace_s=0.1)
    async with town_dir.connect() as watching:
        for name in ("ada", "bea"):
            await watching.spawn(name)
        server = town_dir.server.pid()
        for deadline_s in itertools.chain((step / 200 for step in range(40)), (0.3, 0.5)):
            began = trio.current_time()
            with trio.move_on_after(deadline_s):
                await use(town_dir)
            assert trio.current_time() - began < deadline_s + 4.5, deadline_s
            assert running_kernel(town_dir.root) is None
            assert (await watching.status()).hosts == (), deadline_s
            assert not list((town_dir.state / "run").glob("*.json"))
            assert [pid for pid in town_dir.processes() if pid != server] == [], deadline_s
            for agent in await watching.agents():
                assert agent.host is None
                assert agent.mail.leased == 0
            for task in await watching.tasks(state="running"):
                raise AssertionError(f"{task.id} still runs after {deadline_s}")
        inbox = await watching.run(watching.operations.peek("ada", limit=5))
        assert {lying.deliveries for lying in inbox.messages} == {0}
        assert await watching.run(administration.dead_letters(watching.operations.keys)) == ()


async def test_a_cancelled_round_gives_its_mail_back_untouched(town_dir, scripted_backend) -> None:
    async def forever(work: Any, report: Any) -> None:
        await trio.sleep_forever()

    scripted_backend.script = forever
    with trio.CancelScope() as scope:
        async with town_dir.open() as town:
            agent = await town.spawn("ada")
            task = await agent.assign("do it")
            await scripted_backend.wait_for_rounds(1)
            scope.cancel()
    async with town_dir.connect() as town:
        now = await town.task(task.id)
        assert (now.state, now.attempts, now.reason) == ("assigned", 0, "its kernel was stopped")
        inbox = await town.run(town.operations.peek("ada"))
        assert [(entry.place, entry.deliveries) for entry in inbox.messages] == [("queued", 0)]
        assert (await town.run(town.operations.agent("ada"))).state == "suspended"


async def test_a_backend_that_raises_while_it_is_cancelled_stops_nobody(town_dir, scripted_backend) -> None:
    async def brittle(work: Any, report: Any) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("cannot stand this")

    scripted_backend.script = brittle
    with trio.CancelScope() as scope:
        async with town_dir.open() as town:
            agent = await town.spawn("ada")
            await agent.assign("do it")
            await scripted_backend.wait_for_rounds(1)
            scope.cancel()
    assert scope.cancelled_caught
    async with town_dir.open() as town:
        agent = await town.agent("ada")
        await scripted_backend.wait_for_rounds(2)
        await agent.interrupt(now=True)
        await agent.wait_until(lambda agent: agent.state == "paused")


async def test_a_kernel_that_is_stopped_lets_rounds_end_within_its_bound(town_dir, start_kernel, wait_for_file) -> None:
    town_dir.configure('default_cli = "shell"\ndrain_s = 20.0\n')
    async with town_dir.connect() as town:
        ada = await town.spawn("ada")
        kernel = await trio.to_thread.run_sync(start_kernel)
        task = await ada.assign("touch begun; while [ ! -e go ]; do sleep 0.02; done; echo in time")
        await wait_for_file(town_dir.root / "begun")
        waiting = await ada.assign("echo not any more")
        kernel.signal(signal.SIGTERM)
        (town_dir.root / "go").touch()
        assert await trio.to_thread.run_sync(kernel.wait) == 0
        assert (await town.task(task.id)).result == "in time"
        assert (await town.task(waiting.id)).state == "assigned"


async def test_a_kernel_that_is_stopped_ends_rounds_that_take_longer(town_dir, start_kernel, wait_for_file) -> None:
    town_dir.configure('default_cli = "shell"\ndrain_s = 0.2\n', grace_s=0.2)
    async with town_dir.connect() as town:
        ada = await town.spawn("ada")
        kernel = await trio.to_thread.run_sync(start_kernel)
        task = await ada.assign("trap '' TERM; touch begun; while :; do sleep 0.1; done")
        await wait_for_file(town_dir.root / "begun")
        began = trio.current_time()
        assert await trio.to_thread.run_sync(kernel.stop) == 0
        assert trio.current_time() - began < 5
        assert ((await town.task(task.id)).state, (await town.task(task.id)).attempts) == ("assigned", 0)


@pytest.mark.faults
async def test_a_program_that_ends_with_control_c_leaves_nothing(town_dir, start_kernel, wait_for_file) -> None:
    town_dir.configure('default_cli = "shell"\n', grace_s=0.1)
    async with town_dir.connect() as town:
        agent = await town.spawn("ada")
        kernel = await trio.to_thread.run_sync(start_kernel)
        task = await agent.assign("touch begun; sleep 1000 & sleep 1000")
        await wait_for_file(town_dir.root / "begun")
        for number in (signal.SIGINT, signal.SIGTERM):  # the second hurries
            os.kill(kernel.pid, number)
        assert await trio.to_thread.run_sync(kernel.wait) == 0
        assert [pid for pid in town_dir.processes() if pid != town_dir.server.pid()] == []
        assert (await town.status()).hosts == ()
        now = await town.task(task.id)
        assert (now.state, now.attempts) == ("assigned", 0)
        assert "Traceback" not in kernel.output


async def test_an_agent_that_is_placed_while_its_kernel_closes_begins_nothing(
    town_dir, scripted_backend, monkeypatch
) -> None:
    """The server has given the agent to the kernel, and the answer arrives when all the others have been asked to leave."""
    town_dir.configure("drain_s = 5.0\n")
    placed, closing = trio.Event(), trio.Event()
    async with town_dir.open() as town:
        run, kernel = town.run, town_dir.kernel

        async def late(call: Any) -> Any:
            answer = await run(call)
            if isinstance(answer, Placement) and answer.agents:
                placed.set()
                await closing.wait()
            return answer

        kernel.town.run = late
        agent = await town.spawn("ada")
        await agent.send("hello")
        await placed.wait()
        leave = town.operations.heartbeat

        def beat(*words: Any, capacity: int | None = None, **more: Any) -> Any:
            if capacity == 0:  # all agents that it knew of have been asked
                closing.set()
            return leave(*words, capacity=capacity, **more)

        monkeypatch.setattr(town.operations, "heartbeat", beat)
    assert not scripted_backend.rounds
    async with town_dir.connect() as town:
        (entry,) = (await town.run(town.operations.peek("ada", limit=5))).messages
        assert (entry.place, entry.deliveries) == ("queued", 0)
