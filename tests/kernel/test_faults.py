"""Two hundred tasks on twenty agents while the kernel, the server and the agents' processes are killed at random moments.

At-least-once is for what a task's own process does: when the kernel dies between a process's last act and the record of
its round, the process runs again. What the town records happens once.
"""

from __future__ import annotations

import os
import random
import re
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from tinytown_cli import administration
from tinytown_testing.keys import KEYS

SEEDS = range(int(os.environ.get("TINYTOWN_FAULT_SEEDS", "2")))
AGENTS = 20
TASKS = 200
FAULTS = 16
TOWN = 'default_cli = "shell"\nlease_s = 1.0\n[limits]\nmax_deliveries = 100\n'

_KNOWN = [
    re.compile(":".join("[^:]+" if part.startswith("<") else re.escape(part) for part in pattern.split(":")))
    for pattern in KEYS
]


async def unknown_keys(town: Any) -> list[str]:
    """Keys of the town that no pattern of `protocol.keys` describes."""
    base = town.operations.keys.base
    keys = [key.decode() for key in await town.link.command("KEYS", f"{base}:*")]
    return [key for key in keys if not any(known.fullmatch(key[len(base) + 1 :]) for known in _KNOWN)]


def rounds_processes(town_dir: Any, supervisors: set[int]) -> list[int]:
    """Processes of rounds: those that bear a run's mark, the kernel and the server excepted."""
    return [pid for pid in town_dir.processes() if pid not in supervisors]


@pytest.mark.faults
@pytest.mark.deadline_s(100)
@pytest.mark.parametrize("seed", SEEDS)
async def test_every_task_is_completed_once_whatever_is_killed(town_dir, start_kernel, seed) -> None:
    town_dir.configure(TOWN, max_attempts=100, retry_delay_s=0.02, grace_s=0.2)
    chance = random.Random(seed)
    killed: Counter[str] = Counter()
    async with town_dir.connect() as town:
        kernel = await trio.to_thread.run_sync(start_kernel)
        agents = [await town.spawn(f"a{number}") for number in range(AGENTS)]
        tasks: list[str] = []

        async def give_work() -> None:
            for number in range(TASKS):
                script = f"echo $TINYTOWN_TASK_ID >> done.log; sleep {chance.choice(['0', '0.02', '0.1'])}; echo ok"
                needs = [chance.choice(tasks)] if tasks and chance.random() < 0.2 else []
                tasks.append((await agents[number % AGENTS].assign(script, needs=needs)).id)

        async def do_harm() -> None:
            for _ in range(FAULTS):
                await trio.sleep(chance.uniform(0.02, 0.4))
                victim = chance.choice(["kernel", "server", "agent", "agent"])
                if victim == "kernel":
                    await trio.to_thread.run_sync(kernel.kill)
                    await trio.to_thread.run_sync(kernel.start)
                elif victim == "server" and (pid := town_dir.server.pid()):
                    os.kill(pid, signal.SIGKILL)
                elif candidates := rounds_processes(town_dir, {kernel.pid, town_dir.server.pid() or 0}):
                    with suppress(ProcessLookupError):
                        os.kill(chance.choice(candidates), signal.SIGKILL)
                killed[victim] += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(give_work)
            nursery.start_soon(do_harm)
        await town.wait_until(town.status, lambda status: status.tasks["completed"] + status.tasks["failed"] == TASKS)
        await town.wait_for_idle()

        states = Counter([task.state for task in await town.tasks(limit=TASKS)])
        assert states == {"completed": TASKS}
        events = await town.run(town.operations.events_after("0", count=100_000))
        completed = Counter(
            event.task for event in events if event.type == "task_state_changed" and event.new == "completed"
        )
        assert completed == Counter(tasks)
        done = Counter((town_dir.root / "done.log").read_text().split())
        assert set(done) == set(tasks)
        assert sum(done.values()) - TASKS <= AGENTS * (killed["kernel"] + killed["server"]) + killed["agent"]
        assert await town.run(administration.dead_letters(town.operations.keys)) == ()
        assert await unknown_keys(town) == []
        assert all(agent.open_tasks == agent.mail.total == 0 for agent in await town.agents())
        assert rounds_processes(town_dir, {kernel.pid, town_dir.server.pid() or 0, *children(kernel.pid)}) == []
        assert await trio.to_thread.run_sync(kernel.stop) == 0
        assert rounds_processes(town_dir, {town_dir.server.pid() or 0}) == []
        assert not list((town_dir.state / "run").glob("*.json"))


def children(pid: int) -> set[int]:
    """The children of a process: a kernel has one, its reaper."""
    found: set[int] = set()
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        found.update(map(int, path.read_text().split()))
    return found


@pytest.mark.faults
async def test_what_a_killed_kernel_had_is_free_again_as_soon_as_the_next_one_comes(
    town_dir, start_kernel, wait_for_file
) -> None:
    town_dir.configure('default_cli = "shell"\nlease_s = 60.0\n', grace_s=0.2)
    async with town_dir.connect() as town:
        kernel = await trio.to_thread.run_sync(start_kernel)
        agent = await town.spawn("ada")
        task = await agent.assign("echo x >> began; sleep 1000 & test $(wc -l < began) = 2 || sleep 1000; echo done")
        await wait_for_file(town_dir.root / "began", "x")
        kernel.kill()
        await trio.to_thread.run_sync(kernel.start)  # well within the lease: the same machine knows that it is dead
        done = await town.wait_for_task(task.id)
        assert (done.state, done.result, done.attempts) == ("completed", "done", 1)
        events = await town.run(town.operations.events_after("0"))
        assert [event.reason for event in events if event.type == "host_left"] == ["its kernel was killed"]


@pytest.mark.faults
async def test_nothing_of_a_round_survives_the_kill_of_its_kernel(town_dir, start_kernel, wait_for_file) -> None:
    town_dir.configure('default_cli = "shell"\n', grace_s=0.2)
    async with town_dir.connect() as town:
        kernel = await trio.to_thread.run_sync(start_kernel)
        agent = await town.spawn("ada")
        await agent.assign("setsid sleep 1000 & (sleep 1000 &) ; echo up > up; exec sleep 1000")
        await wait_for_file(town_dir.root / "up", "up")
        assert len(rounds_processes(town_dir, {kernel.pid, town_dir.server.pid() or 0})) >= 3
        kernel.kill()
        while rounds_processes(town_dir, {town_dir.server.pid() or 0}):  # noqa: ASYNC110 - other processes end
            await trio.sleep(0.01)


@pytest.mark.faults
async def test_an_agents_process_that_is_killed_costs_an_attempt(town_dir, start_kernel, wait_for_file) -> None:
    town_dir.configure('default_cli = "shell"\n')
    async with town_dir.connect() as town:
        await trio.to_thread.run_sync(start_kernel)
        agent = await town.spawn("ada")
        task = await agent.assign("test -e pid || { echo $$ > pid; exec sleep 1000; }; echo done")
        await wait_for_file(town_dir.root / "pid", "\n")
        os.kill(int((town_dir.root / "pid").read_text()), signal.SIGKILL)
        done = await town.wait_for_task(task.id)
        assert (done.state, done.result, done.attempts) == ("completed", "done", 2)


KILLER = """
i=0
until [ $(wc -l < begun) -gt $(wc -l < killed) ] || [ $i = 50 ]; do sleep 0.1; i=$((i + 1)); done
echo x >> killed
kill -9 $(cat kernel.pid)
sleep 1000
"""


@pytest.mark.faults
@pytest.mark.deadline_s(150)
async def test_a_task_that_kills_its_kernel_is_given_up_and_costs_the_tasks_beside_it_no_attempt(
    town_dir, start_kernel
) -> None:
    town_dir.configure('default_cli = "shell"\nlease_s = 5.0\n')
    killed, begun = town_dir.root / "killed", town_dir.root / "begun"
    killed.touch()
    begun.touch()
    async with town_dir.connect() as town:
        killer = await (await town.spawn("ada")).assign(KILLER)
        beside = await (await town.spawn("bea")).assign("echo x >> begun; sleep 3; echo done")
        (town_dir.root / "kernel.pid").write_text("0")
        kernel = await trio.to_thread.run_sync(start_kernel)

        async def keep_running() -> None:
            while True:
                (town_dir.root / "kernel.pid").write_text(str(kernel.pid))
                while kernel._process.poll() is None:  # noqa: ASYNC110 - nothing announces it
                    await trio.sleep(0.02)
                await trio.to_thread.run_sync(kernel.start)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_running)
            done, given_up = await town.wait_for_task(beside.id), await town.wait_for_task(killer.id)
            nursery.cancel_scope.cancel()
        assert (given_up.state, given_up.attempts, given_up.lost) == ("failed", 0, 5)
        assert "its kernel ended 5 times" in (given_up.reason or "")
        assert len(killed.read_text().split()) == 5
        assert (done.state, done.attempts, done.lost) == ("completed", 1, 0)
        assert len(begun.read_text().split()) <= 3  # twice beside the other one, then alone
        after = await (await town.agent("ada")).assign("echo more")
        assert (await town.wait_for_task(after.id)).state == "completed"
