"""What is done to a town: one great fault after the other, and small ones all the time, as a seed has it.

A great fault strikes a kernel, its connection, the server or its clock; how long the agents of a struck kernel were without a
host is measured, and then the damage is undone, as a service manager or a person would do it. Small faults kill the
processes of agents and the tools that these have started. Operators pause, stop and resume agents, hold tasks and freeze
the town.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import trio
from tinytown.errors import NotFound, Refused
from tinytown.model.agents import Agent
from tinytown.protocol import Operation
from tinytown.town import Town
from tinytown_cli import administration

from .stage import CAN_MOUNT, FAKETIME, LEASE_S, Host, Stage, insist
from .work import AGENTS, Work

#: Agents of a struck kernel have another host within this time, or the trial says so.
TAKEOVER_BOUND_S = LEASE_S + 1.0

VERBS = ("paused", "stopped", "drained", "frozen", "held")

_GIVE_UP_S = 15.0


class Harm:
    """Strikes a stage. `struck` counts faults by name, `takeovers_s` has one time for each agent that lost its host."""

    def __init__(self, stage: Stage, town: Town, chance: random.Random) -> None:
        self._stage = stage
        self._town = town
        self._chance = chance
        self.struck: Counter[str] = Counter()
        self.takeovers_s: list[float] = []
        self.never_taken_over: list[str] = []
        self.bad_exits: list[str] = []
        self._touched: set[str] = set()  # by operators, since a takeover began
        self._great: dict[str, Callable[[], Awaitable[None]]] = {
            "kernel killed": self._kill_kernel,
            "kernel frozen": self._freeze_kernel,
            "kernel cut off": self._cut_off,
            "server killed": self._kill_server,
            "server frozen": self._freeze_server,
            "disk full": self._fill_disk,
            "notifications lost": self._lose_notifications,
            "failover": self._fail_over,
            "group signal": self._signal_group,
            "open files": self._limit_files,
        }
        if FAKETIME is not None:
            self._great["clock set"] = self._set_clock
        if CAN_MOUNT:
            self._great["inodes"] = self._limit_inodes
        self._turns: list[str] = []

    async def strike(self) -> None:
        """One great fault, from the blow to the mended town. Each kind comes once before one comes again."""
        if not self._turns:
            self._turns = sorted(self._great)
            self._chance.shuffle(self._turns)
        name = self._turns.pop()
        self.struck[name] += 1
        await self._great[name]()

    async def pick_off(self) -> None:
        """Kill processes of rounds, one now and then, until cancelled."""
        while True:
            await trio.sleep(self._chance.uniform(0.05, 0.5))
            host = self._chance.choice(self._stage.hosts)
            found = await trio.to_thread.run_sync(host.processes)
            if not found:
                continue
            tools = [pid for pid in found if _parent(pid) in found]
            name, choice = self._chance.choice([("agent killed", found), ("tool killed", tools)])
            if choice:
                with suppress(ProcessLookupError):
                    os.kill(self._chance.choice(choice), signal.SIGKILL)
                    self.struck[name] += 1

    async def operate(self, work: Work) -> None:
        """Do what people do, now and then, until cancelled; what was paused, stopped, held or frozen is released each time."""
        town, chance = self._town, self._chance
        while True:
            await trio.sleep(chance.uniform(0.1, 0.8))
            agent, task = f"a{chance.randrange(AGENTS)}", chance.choice(work.ids[-40:]) if work.ids else ""
            verb = chance.choice(VERBS)
            now, calls = chance.choice([True, False]), town.operations
            how_long = chance.uniform(0.0, LEASE_S)
            begin: Operation[Any]
            end: Operation[Any]
            if verb == "frozen":
                begin, end = (
                    administration.freeze(calls.keys, reason="chaos"),
                    administration.thaw(calls.keys, reason="chaos"),
                )
            elif verb == "held":
                if not task:
                    continue
                work.waiting.add(task)  # it comes when it is released
                begin, end = (
                    administration.hold_task(calls.keys, task, reason="chaos"),
                    administration.release_task(calls.keys, task),
                )
            else:
                self._touched.add(agent)
                begin = calls.set_desired_state(agent, cast("Any", verb), now=now, reason="chaos")
                end = calls.set_desired_state(agent, "running", reason="chaos")
            try:
                with suppress(Refused, NotFound):
                    await insist(town, begin)
                    self.struck[f"{verb} by an operator"] += 1
                    await trio.sleep(how_long)
            finally:
                with trio.CancelScope(shield=True, relative_deadline=_GIVE_UP_S), suppress(Refused, NotFound):
                    await insist(town, end)

    async def _lose_notifications(self) -> None:
        for host in self._stage.hosts:
            host.gate.shut("deaf")
        await trio.sleep(LEASE_S * self._chance.uniform(1.0, 3.0))
        for host in self._stage.hosts:
            host.gate.open_again()
        await self.settle()

    async def _fail_over(self) -> None:
        await self.settle()
        await trio.to_thread.run_sync(self._stage.fail_over)
        await trio.sleep(LEASE_S)
        await trio.to_thread.run_sync(self._stage.end_replicas)
        await self.settle()

    async def _signal_group(self) -> None:
        host, _ = await self._busiest()
        status = await trio.to_thread.run_sync(host.signal_group)
        if status != 0:
            self.bad_exits.append(f"after a signal for the whole group, {status}")
        host.start()
        await self.settle()

    async def _limit_files(self) -> None:
        host, _ = await self._busiest()
        host.limit_files(self._chance.choice([0, 3, 10]))
        await trio.sleep(LEASE_S * self._chance.uniform(0.5, 3.0))
        with suppress(ProcessLookupError, PermissionError):
            host.limit_files(None)
        await self.settle()

    async def _limit_inodes(self) -> None:
        self._stage.limit_inodes(self._chance.choice([0, 5]))
        try:
            await trio.sleep(LEASE_S * self._chance.uniform(0.5, 3.0))
        finally:
            self._stage.limit_inodes(None)
        await self.settle()

    async def _set_clock(self) -> None:
        self._stage.set_clock(self._chance.choice([-7200, 7200, -86_400, 40, 0]))
        await trio.sleep(LEASE_S * self._chance.uniform(0.5, 3.0))
        await self.settle()

    async def _kill_kernel(self) -> None:
        host, agents = await self._busiest()
        await trio.to_thread.run_sync(host.kill)
        await self._await_takeover(agents)
        host.start()

    async def _freeze_kernel(self) -> None:
        host, agents = await self._busiest()
        host.freeze()
        began = trio.current_time()
        try:
            await self._await_takeover(agents)
            await trio.sleep_until(began + LEASE_S * self._chance.uniform(1.5, 2.5))
        finally:
            host.thaw()

    async def _cut_off(self) -> None:
        host, agents = await self._busiest()
        host.gate.shut(self._chance.choice(["refused", "silent"]))
        began = trio.current_time()
        try:
            await self._await_takeover(agents)
            await trio.sleep_until(began + LEASE_S * self._chance.uniform(1.5, 2.5))
        finally:
            host.gate.open_again()
            host.keep_running()

    async def _kill_server(self) -> None:
        await trio.to_thread.run_sync(self._stage.server.kill)
        await trio.sleep(self._chance.choice([0.0, 0.3, 1.5 * LEASE_S]))
        await trio.to_thread.run_sync(self._stage.server.start)
        await self.settle()

    async def _freeze_server(self) -> None:
        self._stage.server.freeze()
        try:
            await trio.sleep(LEASE_S * self._chance.uniform(0.3, 2.0))
        finally:
            self._stage.server.thaw()
        await self.settle()

    async def _fill_disk(self) -> None:
        self._stage.server.fill_disk()
        try:
            await trio.sleep(LEASE_S * self._chance.uniform(0.3, 2.0))
        finally:
            self._stage.server.clear_disk()
        await self.settle()

    async def _busiest(self) -> tuple[Host, dict[str, str]]:
        """The host that has most agents, and which: name -> the kernel's id. Every agent has a host by then."""
        await self.settle()
        holders = Counter(agent.host for agent in await self._agents())
        held_by, _ = holders.most_common(1)[0]
        root = {host.id: host.root for host in await insist(self._town, self._town.operations.hosts())}.get(
            held_by or ""
        )
        host = next((each for each in self._stage.hosts if str(each.root) == root), self._stage.hosts[0])
        return host, {agent.name: held_by or "" for agent in await self._agents() if agent.host == held_by}

    async def _agents(self) -> tuple[Agent, ...]:
        return await insist(self._town, self._town.operations.agents())

    async def settle(self) -> None:
        """Wait until both kernels take part and every agent has a host."""
        with trio.move_on_after(_GIVE_UP_S):
            while True:
                for host in self._stage.hosts:
                    host.keep_running()
                status = await insist(self._town, self._town.operations.status())
                if len(status.hosts) == len(self._stage.hosts) and all(agent.host for agent in status.agents):
                    return
                await trio.sleep(0.05)

    async def _await_takeover(self, agents: dict[str, str]) -> None:
        began = trio.current_time()
        waiting = dict(agents)
        self._touched.clear()
        with trio.move_on_after(_GIVE_UP_S):
            while waiting:
                for agent in await self._agents():
                    if agent.host and agent.host != waiting.get(agent.name, agent.host):
                        del waiting[agent.name]
                        if agent.name not in self._touched:
                            self.takeovers_s.append(trio.current_time() - began)
                await trio.sleep(0.01)
        self.never_taken_over += waiting


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
