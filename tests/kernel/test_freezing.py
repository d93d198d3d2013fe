"""A frozen town stands still: no process of it moves, no time runs out, nothing is begun; thawed, it continues where it was."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import trio
from tinytown.contracts import Finished
from tinytown.town import Town
from tinytown_cli import administration

WITHIN_S = 5.0

#: Counts as long as it is let, then answers. Whether it moves is seen by the file that grows.
COUNTING = """
[agent_clis.counter]
command = [
    "sh", "-c",
    "sleep 1000 & while [ ! -e done ]; do echo x >> count; sleep 0.02; done; kill $!; echo counted",
]
"""


async def frozen_hosts(town: Town, count: int) -> list[int]:
    """How many commands each of so many hosts has frozen, once all have said so."""

    async def look() -> list[int | None]:
        return [host.frozen for host in await town.run(town.operations.hosts())]

    found: list[int] = await town.wait_until(look, lambda reported: len(reported) == count and None not in reported)
    return found


async def stops_growing(path: Path) -> int:
    """The size of a file once it stays the same."""
    size = -1
    while size != (size := path.stat().st_size):  # noqa: ASYNC110 - another process writes it
        await trio.sleep(0.2)
    return size


@pytest.fixture
def counting(town_dir: Any, scripted_backend: Any) -> Any:
    town_dir.configure(COUNTING, timeout_s=2.0)
    return town_dir


async def test_processes_stand_still_and_their_time_with_them(counting, wait_for_file) -> None:
    count = counting.root / "count"
    async with counting.open() as town:
        task = await (await town.spawn("ann", cli="counter")).assign("count")
        await wait_for_file(count, "x")
        with trio.fail_after(WITHIN_S):
            assert await town.run(administration.freeze(town.operations.keys, reason="the bill"))
            assert await frozen_hosts(town, 1) == [1]
        assert not await town.run(administration.freeze(town.operations.keys, reason="again"))
        size = await stops_growing(count)
        await trio.sleep(2.2)  # longer than the round's whole time: none of it may pass
        assert count.stat().st_size == size
        assert (await town.task(task.id)).state == "running"
        status = await town.status()
        assert status.frozen
        assert status.frozen.reason == "the bill"
        assert await town.run(administration.thaw(town.operations.keys, reason="it is paid"))
        assert not await town.run(administration.thaw(town.operations.keys, reason="again"))
        while count.stat().st_size == size:  # noqa: ASYNC110 - another process writes it
            await trio.sleep(0.01)
        (counting.root / "done").touch()
        done = await town.wait_for_task(task.id)
        assert (done.state, done.attempts) == ("completed", 1)
        await town.wait_until(lambda: town.run(town.operations.hosts()), lambda hosts: hosts[0].frozen is None)
    assert [event["reason"] for event in counting.recorded("town_frozen")] == ["the bill"]
    assert [event["reason"] for event in counting.recorded("town_thawed")] == ["it is paid"]


async def test_nothing_is_begun_in_a_frozen_town_and_all_of_it_after(town_dir, scripted_backend) -> None:
    async with town_dir.open() as town:
        agent = await town.spawn("ann", tags=["x"])
        await town.wait_for_idle()
        await town.run(administration.freeze(town.operations.keys, reason="the bill"))
        await agent.send("a message", priority="urgent")
        await agent.assign("a task")
        await town.add_task("on the backlog", tags=["x"])
        await agent.wait_until(lambda now: "frozen" in (now.reason or ""))
        assert not scripted_backend.rounds
        await town.run(administration.thaw(town.operations.keys, reason="enough"))
        await town.wait_for_idle()
        assert [round.task and round.task.description for round in scripted_backend.rounds] == [
            None,
            "a task",
            "on the backlog",
        ]


async def test_a_limit_of_a_round_without_processes_stands_still_too(town_dir, scripted_backend) -> None:
    go_on = trio.Event()

    async def wait(work: Any, report: Any) -> Finished:
        await go_on.wait()
        return Finished(text="done")

    scripted_backend.script = wait
    town_dir.configure(timeout_s=0.2, grace_s=0.1)  # and a second of overtime
    async with town_dir.open() as town:
        task = await (await town.spawn("ann")).assign("wait")
        await scripted_backend.wait_for_rounds(1)
        await town.run(administration.freeze(town.operations.keys, reason="the bill"))
        await trio.sleep(2.5)  # the measured span itself
        await town.run(administration.thaw(town.operations.keys, reason="enough"))
        go_on.set()
        assert (await town.wait_for_task(task.id)).attempts == 1


async def test_a_town_stays_frozen_from_one_kernel_to_the_next(town_dir, scripted_backend) -> None:
    async with town_dir.open() as town:
        await town.spawn("ann")
        await town.run(administration.freeze(town.operations.keys, reason="the bill"))
    async with town_dir.open() as town:
        assert await frozen_hosts(town, 1) == [0]
        agent = await town.agent("ann")
        await agent.send("a message")
        await agent.wait_until(lambda now: "frozen" in (now.reason or ""))
        assert not scripted_backend.rounds
        await town.run(administration.thaw(town.operations.keys, reason="enough"))
        await scripted_backend.wait_for_rounds(1)


async def test_every_kernel_freezes_what_it_runs_and_one_that_dies_frozen_leaves_nothing(
    counting, start_kernel, wait_for_round_ends, wait_for_file
) -> None:
    count = counting.root / "count"
    kernel = start_kernel()
    async with counting.connect() as town:
        task = await (await town.spawn("ann", cli="counter")).assign("count")
        await wait_for_file(count, "x")
        await town.run(administration.freeze(town.operations.keys, reason="the bill"))
        assert await frozen_hosts(town, 1) == [1]
        kernel.signal(signal.SIGKILL)
        kernel.wait()
        await wait_for_round_ends(counting)
        kernel.start()
        assert await frozen_hosts(town, 1) == [0]
        assert (await town.task(task.id)).state == "assigned"
        await town.run(administration.thaw(town.operations.keys, reason="enough"))
        (counting.root / "done").touch()
        assert (await town.wait_for_task(task.id)).state == "completed"


async def test_what_is_frozen_can_be_ended(counting, wait_for_round_ends, wait_for_file) -> None:
    async with counting.open() as town:
        agent = await town.spawn("ann", cli="counter")
        task = await agent.assign("count")
        await wait_for_file(counting.root / "count", "x")
        await town.run(administration.freeze(town.operations.keys, reason="the bill"))
        await frozen_hosts(town, 1)
        with trio.fail_after(WITHIN_S):
            await agent.kill(now=True)
            await agent.wait_until(lambda now: now.state == "stopped")
            await wait_for_round_ends(counting)
        assert (await town.task(task.id)).attempts == 0


async def test_a_lease_that_is_lost_while_all_stands_still_costs_the_round_and_no_work(
    counting, wait_for_round_ends, wait_for_file
) -> None:
    counting.configure("lease_s = 1.0\n" + COUNTING, timeout_s=20.0)
    async with counting.open() as town:
        agent = await town.spawn("ann", cli="counter")
        task = await agent.assign("count")
        await wait_for_file(counting.root / "count", "x")
        await town.run(administration.freeze(town.operations.keys, reason="the bill"))
        await frozen_hosts(town, 1)
        (lost,) = await town.run(town.operations.hosts())
        await town.run(town.operations.deregister_host(lost.id, reason="its lease ran out"))
        await agent.wait_until(lambda now: now.host not in (None, "", lost.id) and "frozen" in (now.reason or ""))
        await wait_for_round_ends(counting)
        assert await frozen_hosts(town, 1) == [0]
        assert (await town.task(task.id)).state == "assigned"
        (counting.root / "done").touch()
        await town.run(administration.thaw(town.operations.keys, reason="it is paid"))
        assert (await town.wait_for_task(task.id)).state == "completed"
