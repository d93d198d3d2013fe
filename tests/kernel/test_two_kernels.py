"""Two kernels on one town, each on a directory of its own, with one server between them; one of them dies or freezes."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from tinytown.config import BudgetsConfig
from tinytown.contracts import Finished, RateLimited, Usage
from tinytown_cli import administration
from tinytown_server.server import find_binary

LEASE_S = 0.8
SLACK_S = 1.0
TOWN = 'default_cli = "shell"\nlease_s = {lease}\ncapacity = {capacity}\n[redis]\nurl = "unix://{home}/s"\n'


class Pair:
    """Two directories of one town, and a server."""

    def __init__(self, town_dir: Any, second: Any, home: Path, start: Callable[..., Any]) -> None:
        self.first, self.second = town_dir, second
        self.home = home
        self._start = start

    def configure(self, *, capacity: int = 1000) -> None:
        for town_dir in (self.first, self.second):
            town_dir.configure(TOWN.format(home=self.home, lease=LEASE_S, capacity=capacity), grace_s=0.1)

    async def start(self, town_dir: Any) -> Any:
        return await trio.to_thread.run_sync(self._start, town_dir.root)

    @asynccontextmanager
    async def watch(self) -> AsyncGenerator[Any]:
        """The town as a bystander sees it."""
        async with self.first.connect() as town:
            yield town


@pytest.fixture
def pair(town_dir, start_kernel) -> Any:
    home = Path(tempfile.mkdtemp(prefix="tt-", dir="/tmp"))
    second = type(town_dir)(Path(tempfile.mkdtemp(prefix="tt-", dir="/tmp")).resolve())
    command = [find_binary().path, "--port", "0", "--unixsocket", f"{home}/s", "--dir", str(home), "--save", ""]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        next(line for line in server.stdout if "Ready to accept" in line)
        server.stdout.close()
        pair = Pair(town_dir, second, home, start_kernel)
        pair.configure()
        yield pair
    finally:
        start_kernel.close()  # while there is a server to say goodbye to
        server.kill()
        server.wait()
        second.close()
        shutil.rmtree(home)


async def hosts_of(town: Any) -> dict[str, str | None]:
    return {agent.name: agent.host for agent in await town.agents()}


async def placed(town: Any, count: int, hosts: int) -> dict[str, str]:
    """Who hosts whom, once so many agents are placed with so many hosts."""

    def good(found: dict[str, str | None]) -> bool:
        return len(found) == count and None not in found.values() and len(set(found.values())) == hosts

    found: dict[str, str] = await town.wait_until(lambda: hosts_of(town), good)
    return found


async def test_each_agent_is_hosted_by_one_kernel_and_room_is_kept_to(pair) -> None:
    pair.configure(capacity=3)
    await pair.start(pair.first)
    await pair.start(pair.second)
    async with pair.watch() as town:
        for number in range(6):
            await town.spawn(f"a{number}")
        found = await placed(town, 6, 2)
        assert sorted([*found.values()].count(host) for host in set(found.values())) == [3, 3]
        assert sorted(host.root for host in (await town.status()).hosts) == sorted(
            str(town_dir.root) for town_dir in (pair.first, pair.second)
        )


async def test_an_agent_that_waits_for_room_gets_it_as_soon_as_another_goes(pair) -> None:
    pair.configure(capacity=1)
    await pair.start(pair.first)
    async with pair.watch() as town:
        ada = await town.spawn("ada")
        await ada.wait_for_idle()
        bea = await town.spawn("bea")
        task = await bea.assign("echo here")
        await ada.kill()
        assert (await town.wait_for_task(task.id)).state == "completed"


@pytest.mark.faults
@pytest.mark.parametrize("fate", ["killed", "frozen"])
async def test_agents_move_within_one_lease_time_when_their_kernel_is_gone(pair, fate, wait_for_file) -> None:
    first = await pair.start(pair.first)
    async with pair.watch() as town:
        names = [f"a{number}" for number in range(5)]
        agents = [await town.spawn(name) for name in names]
        before = set((await placed(town, 5, 1)).values())
        # The round in progress goes on until a file says otherwise; it must be done again by the other kernel.
        task = await agents[0].assign(
            "echo $TINYTOWN_ROUND_ID >> runs; while [ ! -e go ]; do sleep 0.02; done; echo done"
        )
        await wait_for_file(pair.first.root / "runs", "\n")
        waiting = await agents[1].assign("echo waited")
        await town.wait_for_task(waiting.id)
        second = await pair.start(pair.second)

        if fate == "killed":
            first.kill()
        else:
            first.signal(signal.SIGSTOP)
        with trio.fail_after(LEASE_S + SLACK_S):
            await town.wait_until(
                lambda: hosts_of(town), lambda found: None not in found.values() and not before & set(found.values())
            )
        await wait_for_file(pair.second.root / "runs", "\n")
        assert (await town.task(task.id)).attempts == 2

        if fate == "frozen":
            # Coming back, it finds its lease gone: its rounds are cut off, it changes nothing, it joins anew.
            old_run = (pair.first.root / "runs").read_text().strip()
            first.signal(signal.SIGCONT)
            statuses = lambda: town.status()  # noqa: E731
            status = await town.wait_until(statuses, lambda status: len(status.hosts) == 2)
            assert before.isdisjoint({host.id for host in status.hosts})
            while pair.first.processes() != [first.pid]:  # noqa: ASYNC110 - other processes end
                await trio.sleep(0.01)
            now = await town.task(task.id)
            assert (now.state, now.attempts) == ("running", 2)
            assert now.round_id != old_run
        (pair.second.root / "go").touch()
        done = await town.wait_for_task(task.id)
        assert (done.state, done.result, done.attempts) == ("completed", "done", 2)
        ended = [
            event for event in await town.run(town.operations.events_after("0")) if event.type == "task_state_changed"
        ]
        assert [event.new for event in ended if event.task == task.id].count("completed") == 1
    assert second.stop() == 0


@pytest.mark.faults
async def test_a_kernel_that_stops_in_good_order_hands_its_agents_over_at_once(pair) -> None:
    first = await pair.start(pair.first)
    async with pair.watch() as town:
        agents = [await town.spawn(f"a{number}") for number in range(5)]
        before = set((await placed(town, 5, 1)).values())
        await pair.start(pair.second)
        began = trio.current_time()
        assert await trio.to_thread.run_sync(first.stop) == 0
        assert trio.current_time() - began < LEASE_S
        await town.wait_until(
            lambda: hosts_of(town), lambda found: None not in found.values() and not before & set(found.values())
        )
        done = await town.wait_for_task((await agents[0].assign("echo moved")).id)
        assert done.result == "moved"


async def test_only_one_of_two_kernels_feeds_the_sinks_and_the_other_takes_over(
    pair, scripted_backend, tmp_path
) -> None:
    for town_dir in (pair.first, pair.second):
        text = TOWN.format(home=pair.home, lease=LEASE_S, capacity=10)
        town_dir.configure(text + f'[plugins.journal]\npath = "{tmp_path}/{town_dir.root.name}.jsonl"\n')
    first = await pair.start(pair.first)
    journals = [tmp_path / f"{town_dir.root.name}.jsonl" for town_dir in (pair.first, pair.second)]
    async with pair.watch() as town:
        await pair.start(pair.second)
        await town.spawn("ada")
        while "agent_spawned" not in (journals[0].read_text() if journals[0].exists() else ""):  # noqa: ASYNC110
            await trio.sleep(0.01)
        assert not journals[1].exists() or journals[1].read_text() == ""
        first.kill()
        await town.spawn("bea")
        while '"bea"' not in (journals[1].read_text() if journals[1].exists() else ""):  # noqa: ASYNC110
            await trio.sleep(0.01)


async def test_a_throttle_that_one_kernel_is_told_of_holds_the_agents_of_the_other(
    pair, scripted_backend, scripted_answers
) -> None:
    pair.configure(capacity=1)
    scripted_backend.script = scripted_answers(RateLimited(retry_after_s=3600), Finished(text="fine"))
    async with pair.first.open() as town:
        ada = await town.spawn("ada", cli="scripted")
        await ada.wait_for_idle()
        async with pair.second.open():
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


async def test_a_budget_holds_over_both_kernels_and_what_one_leaves_the_other_may_use(pair, scripted_backend) -> None:
    pair.configure(capacity=1)
    go = trio.Event()

    async def work(work: Any, report: Any) -> Finished:
        await go.wait()
        return Finished(text="fine", usage=Usage(cost_usd=0.1))

    scripted_backend.script = work
    async with pair.first.open() as town, pair.second.open():
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


async def test_a_frozen_town_stands_still_on_every_host(pair, wait_for_file) -> None:
    pair.configure(capacity=1)
    for town_dir in (pair.first, pair.second):
        await pair.start(town_dir)
    counts = [town_dir.root / "count" for town_dir in (pair.first, pair.second)]

    def grown(sizes: list[int]) -> list[bool]:
        return [count.stat().st_size > size for count, size in zip(counts, sizes, strict=True)]

    async with pair.watch() as town:
        tasks = [
            await (await town.spawn(name)).assign("while [ ! -e go ]; do echo x >> count; sleep 0.02; done")
            for name in ("ada", "bea")
        ]
        for count in counts:
            await wait_for_file(count, "x")
        with trio.fail_after(SLACK_S):
            await town.freeze("the bill")
            await town.wait_until(
                lambda: town.run(town.operations.hosts()), lambda hosts: [host.frozen for host in hosts] == [1, 1]
            )
        await trio.sleep(0.2)  # what was on its way to the disk
        sizes = [count.stat().st_size for count in counts]
        await trio.sleep(3 * LEASE_S)  # the measured span itself: leases are renewed in it, or the agents would move
        assert grown(sizes) == [False, False]
        await town.thaw("it is paid")
        while not all(grown(sizes)):  # noqa: ASYNC110 - other processes write
            await trio.sleep(0.01)
        for town_dir in (pair.first, pair.second):
            (town_dir.root / "go").touch()
        assert [(await town.wait_for_task(task.id)).attempts for task in tasks] == [1, 1]
