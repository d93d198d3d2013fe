"""Two kernels on one town, each on a directory of its own, with one server between them; one of them dies or freezes."""

from __future__ import annotations

import signal
from contextlib import aclosing
from typing import Any

import pytest
import trio
from tinytown.config import BudgetsConfig
from tinytown.contracts import Finished, RateLimited, Service, Usage
from tinytown_cli import administration
from tinytown_sinks import events_from
from trio_util import AsyncValue

SLACK_S = 1.0


async def hosts_of(town: Any) -> dict[str, str | None]:
    return {agent.name: agent.host for agent in await town.agents()}


async def placed(town: Any, count: int, hosts: int) -> dict[str, str]:
    """Who hosts whom, once so many agents are placed with so many hosts."""

    def good(found: dict[str, str | None]) -> bool:
        return len(found) == count and None not in found.values() and len(set(found.values())) == hosts

    found: dict[str, str] = await town.wait_until(lambda: hosts_of(town), good)
    return found


async def test_each_agent_is_hosted_by_one_kernel_and_room_is_kept_to(town_pair) -> None:
    town_pair.configure(capacity=3)
    await town_pair.start(town_pair.first)
    await town_pair.start(town_pair.second)
    async with town_pair.watch() as town:
        for number in range(6):
            await town.spawn(f"a{number}")
        found = await placed(town, 6, 2)
        assert sorted([*found.values()].count(host) for host in set(found.values())) == [3, 3]
        assert sorted(host.root for host in (await town.status()).hosts) == sorted(
            str(town_dir.root) for town_dir in (town_pair.first, town_pair.second)
        )


async def test_an_agent_that_waits_for_room_gets_it_as_soon_as_another_goes(town_pair) -> None:
    town_pair.configure(capacity=1)
    await town_pair.start(town_pair.first)
    async with town_pair.watch() as town:
        ada = await town.spawn("ada")
        await ada.wait_for_idle()
        bea = await town.spawn("bea")
        task = await bea.assign("echo here")
        await ada.kill()
        assert (await town.wait_for_task(task.id)).state == "completed"


@pytest.mark.faults
@pytest.mark.parametrize("fate", ["killed", "frozen"])
async def test_agents_move_within_one_lease_time_when_their_kernel_is_gone(town_pair, fate, wait_for_file) -> None:
    first = await town_pair.start(town_pair.first)
    async with town_pair.watch() as town:
        names = [f"a{number}" for number in range(5)]
        agents = [await town.spawn(name) for name in names]
        before = set((await placed(town, 5, 1)).values())
        # The round in progress continues until a file says otherwise; it must be done again by the other kernel.
        task = await agents[0].assign(
            "echo $TINYTOWN_ROUND_ID >> runs; while [ ! -e go ]; do sleep 0.02; done; echo done"
        )
        await wait_for_file(town_pair.first.root / "runs", "\n")
        waiting = await agents[1].assign("echo waited")
        await town.wait_for_task(waiting.id)
        second = await town_pair.start(town_pair.second)

        if fate == "killed":
            first.kill()
        else:
            first.signal(signal.SIGSTOP)
        with trio.fail_after(town_pair.lease_s + SLACK_S):
            await town.wait_until(
                lambda: hosts_of(town), lambda found: None not in found.values() and not before & set(found.values())
            )
        await wait_for_file(town_pair.second.root / "runs", "\n")
        assert (await town.task(task.id)).attempts == 1

        if fate == "frozen":
            # Coming back, it finds its lease gone: its rounds are cut off, it changes nothing, it joins anew.
            old_run = (town_pair.first.root / "runs").read_text().strip()
            first.signal(signal.SIGCONT)
            statuses = lambda: town.status()  # noqa: E731
            status = await town.wait_until(statuses, lambda status: len(status.hosts) == 2)
            assert before.isdisjoint({host.id for host in status.hosts})
            while town_pair.first.processes() != [first.pid]:  # noqa: ASYNC110 - other processes end
                await trio.sleep(0.01)
            now = await town.task(task.id)
            assert (now.state, now.attempts) == ("running", 1)
            assert now.round_id != old_run
        (town_pair.second.root / "go").touch()
        done = await town.wait_for_task(task.id)
        assert (done.state, done.result, done.attempts) == ("completed", "done", 1)
        ended = [
            event for event in await town.run(town.operations.events_after("0")) if event.type == "task_state_changed"
        ]
        assert [event.new for event in ended if event.task == task.id].count("completed") == 1
    assert second.stop() == 0


@pytest.mark.faults
async def test_a_kernel_that_stops_in_good_order_hands_its_agents_over_at_once(town_pair) -> None:
    first = await town_pair.start(town_pair.first)
    async with town_pair.watch() as town:
        agents = [await town.spawn(f"a{number}") for number in range(5)]
        before = set((await placed(town, 5, 1)).values())
        await town_pair.start(town_pair.second)
        began = trio.current_time()
        assert await trio.to_thread.run_sync(first.stop) == 0
        assert trio.current_time() - began < town_pair.lease_s
        await town.wait_until(
            lambda: hosts_of(town), lambda found: None not in found.values() and not before & set(found.values())
        )
        done = await town.wait_for_task((await agents[0].assign("echo moved")).id)
        assert done.result == "moved"


async def test_only_one_of_two_kernels_feeds_the_sinks_and_the_other_takes_over(
    town_pair, scripted_backend, tmp_path
) -> None:
    town_pair.configure(f'[plugins.journal]\npath = "{tmp_path}/{{name}}.jsonl"\n', capacity=10)
    first = await town_pair.start(town_pair.first)
    journals = [tmp_path / f"{town_dir.root.name}.jsonl" for town_dir in (town_pair.first, town_pair.second)]
    async with town_pair.watch() as town:
        await town_pair.start(town_pair.second)
        await town.spawn("ada")
        while "agent_spawned" not in (journals[0].read_text() if journals[0].exists() else ""):  # noqa: ASYNC110
            await trio.sleep(0.01)
        assert not journals[1].exists() or journals[1].read_text() == ""
        first.kill()
        await town.spawn("bea")
        while '"bea"' not in (journals[1].read_text() if journals[1].exists() else ""):  # noqa: ASYNC110
            await trio.sleep(0.01)


class Clerk(Service):
    """Notes the tasks that are added; both kernels have it."""

    name = "clerk"
    scope = "town"

    def __init__(self) -> None:
        self.running: AsyncValue[int] = AsyncValue(0)
        self.most = 0
        self.titles: list[str] = []
        self.noted: AsyncValue[int] = AsyncValue(0)

    async def run(self, town: Any) -> None:
        self.running.value += 1
        self.most = max(self.most, self.running.value)
        try:
            async with aclosing(events_from(town, "clerk", lambda event: event.type == "task_added")) as events:
                async for event in events:
                    self.titles.append(event.title)
                    self.noted.value += 1
        finally:
            self.running.value -= 1


async def test_a_service_of_the_town_runs_in_one_kernel_and_the_next_one_goes_on_where_it_stopped(
    town_pair, scripted_backend
) -> None:
    clerk = Clerk()
    scripted_backend.services = [clerk]
    async with town_pair.watch() as town:
        async with town_pair.second.open():
            async with town_pair.first.open():
                await clerk.running.wait_value(1)
                await town.add_task("do it", title="one")
                await clerk.noted.wait_value(1)
                await trio.sleep(2 * town_pair.lease_s)  # the other one would have had its turn
            await clerk.running.wait_value(1)
        assert clerk.running.value == 0
        await town.add_task("do it", title="two")  # while there is no kernel
        async with town_pair.first.open():
            await town.add_task("do it", title="three")
            await clerk.noted.wait_value(3)
    assert (clerk.titles, clerk.most) == (["one", "two", "three"], 1)


async def test_a_service_of_the_town_is_cancelled_when_its_lease_is_lost(town_pair, scripted_backend) -> None:
    clerk = Clerk()
    scripted_backend.services = [clerk]
    async with town_pair.watch() as town, town_pair.first.open():
        await clerk.running.wait_value(1)
        key = f"{town.operations.keys.base}:lease:service.clerk"
        await town.redis("test").set(key, "somebody else", px=int(3 * town_pair.lease_s * 1000))
        await clerk.running.wait_value(0)
        await clerk.running.wait_value(1)
        assert await town.redis("test").get(key) == town_pair.first.kernel._context.kernel_id


async def test_a_throttle_that_one_kernel_is_told_of_holds_the_agents_of_the_other(
    town_pair, scripted_backend, scripted_answers
) -> None:
    town_pair.configure(capacity=1)
    scripted_backend.script = scripted_answers(RateLimited(retry_after_s=3600), Finished(text="fine"))
    async with town_pair.first.open() as town:
        ada = await town.spawn("ada", cli="scripted")
        await ada.wait_for_idle()
        async with town_pair.second.open():
            bea = await town.spawn("bea", cli="scripted")
            await placed(town, 2, 2)
            await ada.assign("do it")
            for agent in (ada, bea):
                await agent.wait_until(lambda now: "throttled until" in (now.reason or ""))
            task = await bea.assign("and this")
            await town.run(administration.unpark_account(town.operations.keys, "scripted"))
            assert (await town.wait_for_task(task.id)).attempts == 1
            await ada.wait_for_idle()
            assert len(scripted_backend.rounds) == 3


async def test_a_budget_holds_over_both_kernels_and_what_one_leaves_the_other_may_use(
    town_pair, scripted_backend
) -> None:
    town_pair.configure(capacity=1)
    go = trio.Event()

    async def work(work: Any, report: Any) -> Finished:
        await go.wait()
        return Finished(text="fine", usage=Usage(cost_usd=0.1))

    scripted_backend.script = work
    async with town_pair.first.open() as town, town_pair.second.open():
        await town.run(town.operations.set_budgets(BudgetsConfig(day_usd=0.5, reserve_usd=0.5).server_numbers))
        agents = [await town.spawn(name, cli="scripted") for name in ("ada", "bea")]
        await placed(town, 2, 2)
        tasks = [await agent.assign("do it") for agent in agents]
        await town.wait_until(town.agents, lambda now: sum("reserved" in (each.reason or "") for each in now) == 1)
        await scripted_backend.wait_for_rounds(1)
        go.set()
        for task in tasks:
            assert (await town.wait_for_task(task.id)).attempts == 1
        assert len(scripted_backend.rounds) == 2


async def test_a_frozen_town_stands_still_on_every_host(town_pair, wait_for_file) -> None:
    town_pair.configure(capacity=1)
    for town_dir in (town_pair.first, town_pair.second):
        await town_pair.start(town_dir)
    counts = [town_dir.root / "count" for town_dir in (town_pair.first, town_pair.second)]

    def grown(sizes: list[int]) -> list[bool]:
        return [count.stat().st_size > size for count, size in zip(counts, sizes, strict=True)]

    async with town_pair.watch() as town:
        tasks = [
            await (await town.spawn(name)).assign("while [ ! -e go ]; do echo x >> count; sleep 0.02; done")
            for name in ("ada", "bea")
        ]
        for count in counts:
            await wait_for_file(count, "x")
        with trio.fail_after(SLACK_S):
            await town.run(administration.freeze(town.operations.keys, reason="the bill"))
            await town.wait_until(
                lambda: town.run(town.operations.hosts()), lambda hosts: [host.frozen for host in hosts] == [1, 1]
            )
        await trio.sleep(0.2)  # what was on its way to the disk
        sizes = [count.stat().st_size for count in counts]
        await trio.sleep(
            3 * town_pair.lease_s
        )  # the measured span itself: leases are renewed in it, or the agents would move
        assert grown(sizes) == [False, False]
        await town.run(administration.thaw(town.operations.keys, reason="it is paid"))
        while not all(grown(sizes)):  # noqa: ASYNC110 - other processes write
            await trio.sleep(0.01)
        for town_dir in (town_pair.first, town_pair.second):
            (town_dir.root / "go").touch()
        assert [(await town.wait_for_task(task.id)).attempts for task in tasks] == [1, 1]
