"""The sections of ``tt status``: with ``--deep`` each agent's latest round and why it waits, the server, sinks and hosts; with
``--tasks`` why open tasks are not running. A constant number of round trips, however many agents there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from tinytown.model.agents import Agent
from tinytown.model.hash_codec import pairs
from tinytown.model.round_records import RoundRecord
from tinytown.model.text import counted, shown
from tinytown.protocol import Operation
from tinytown_cli import administration
from tinytown_cli.client import TownClient
from tinytown_cli.contracts import SectionContent, StatusSection
from tinytown_cli.formatting import brief_id, brief_ids, table

from tinytown_ops.explain.blockers import Blocker, agent_blockers, idle_reason, task_blockers
from tinytown_ops.explain.history_command import round_shape
from tinytown_ops.explain.leases import lease_left
from tinytown_ops.explain.round_text import duration
from tinytown_ops.explain.server_health import ServerHealth, read_server_health
from tinytown_ops.explain.situation import open_tasks, read_situation

#: A longer backlog of a sink is not counted to its end.
COUNTED_EVENTS = 1000

_TASKS_LIMIT = 200


class AgentDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What the status of an agent leaves out. `why` are its blockers; without any, `activity` says what it does or why it
    is idle."""

    last_round: RoundRecord | None
    session_id: str | None
    failures: int
    lease_left_s: float | None
    activity: str
    why: tuple[Blocker, ...] = ()


class SinkLag(msgspec.Struct, frozen=True, kw_only=True):
    """How many events a sink has still to take, counted up to 1,000, and how old the last one is that it took."""

    name: str
    behind: int
    behind_s: float


class HostDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A kernel with its capacity and how long its lease lasts; an expired lease is below 0."""

    id: str
    name: str
    agents: int
    capacity: int
    lease_left_s: float


class TownDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What is read on demand only."""

    agents: dict[str, AgentDetails]
    server: ServerHealth
    sinks: tuple[SinkLag, ...]
    hosts: tuple[HostDetails, ...]


class DeepSection(StatusSection):
    """The details of agents, server, sinks and hosts."""

    name = "deep"

    def read(self, town: TownClient) -> SectionContent:
        """The details as they are now."""
        agents, details = read_details(town)
        return SectionContent("Details", tuple(_lines(details, agents)), _shape(details))


class WhySection(StatusSection):
    """Why open tasks are not running."""

    name = "why"
    option = "tasks"

    def read(self, town: TownClient) -> SectionContent | None:
        """The blockers of each task that is not finished; None without such tasks."""
        tasks = open_tasks(town)
        if not tasks:
            return None
        situation = read_situation(town, tasks)
        blockers = {task.id: task_blockers(task, situation) for task in tasks}
        ids = brief_ids(task.id for task in tasks)
        rows = [
            (
                ids[task.id],
                shown(task.headline, 40),
                "; ".join(blocker.text for blocker in blockers[task.id]),
            )
            for task in tasks
        ]
        lines = table(("task", "title", "reason"), rows)
        return SectionContent(
            "Why open tasks are not running", lines, {task_id: list(reasons) for task_id, reasons in blockers.items()}
        )


def read_details(town: TownClient) -> tuple[tuple[Agent, ...], TownDetails]:
    """The agents and the details of the town. Raises: what `TownClient` raises."""
    situation = read_situation(town, [])
    agents = situation.agents
    hosts, *rounds = town.run_all(
        [town.operations.hosts(), *(administration.rounds(town.operations.keys, agent.id, limit=1) for agent in agents)]
    )
    lease_left_s = {host.id: lease_left(host, situation.now_ms) for host in hosts}
    details: dict[str, AgentDetails] = {}
    for agent, records in zip(agents, rounds, strict=True):
        why = agent_blockers(agent, situation)
        details[agent.name] = AgentDetails(
            last_round=records[0] if records else None,
            session_id=agent.session_id,
            failures=agent.failures,
            lease_left_s=lease_left_s.get(agent.host or ""),
            activity="" if why else idle_reason(agent),
            why=why,
        )
    return agents, TownDetails(
        agents=details,
        server=read_server_health(town),
        sinks=read_sink_lags(town),
        hosts=tuple(
            HostDetails(
                id=host.id,
                name=host.name,
                agents=host.agents,
                capacity=host.capacity,
                lease_left_s=lease_left_s[host.id],
            )
            for host in hosts
        ),
    )


def read_sink_lags(town: TownClient) -> tuple[SinkLag, ...]:
    """How far behind each sink is, by name."""
    cursors_of_sinks = Operation(("HGETALL", town.operations.keys.cursors), pairs)
    latest, cursors = town.run_all([town.operations.latest_events(1), cursors_of_sinks])
    newest = latest[-1].id if latest else "0-0"
    names = sorted(cursors)
    pending = town.run_all([town.operations.events_after(cursors[name], count=COUNTED_EVENTS) for name in names])
    lags: list[SinkLag] = []
    for name, events in zip(names, pending, strict=True):
        newest_ms, taken_ms = (int(position.partition("-")[0]) for position in (newest, cursors[name]))
        behind_s = max(0, newest_ms - taken_ms) / 1000 if events else 0.0
        lags.append(SinkLag(name=name, behind=len(events), behind_s=behind_s))
    return tuple(lags)


def _lines(details: TownDetails, agents: Sequence[Agent]) -> Iterator[str]:
    server = details.server
    limit = f" of {_size(server.memory_limit_bytes)}" if server.memory_limit_bytes else ""
    synced = "" if server.sync == "unknown" else f", synced {server.sync}"
    persistence = f"{server.persistence}{synced}{'' if server.ok else ', LAST WRITE FAILED'}"
    memory = f"{_size(server.memory_bytes)}{limit} of memory"
    yield f"server  {memory}, {persistence}, {counted(server.clients, 'client')}, up {duration(server.uptime_s)}"
    for host in details.hosts:
        lease = f"lease expires in {host.lease_left_s:.0f} s" if host.lease_left_s > 0 else "lease expired"
        yield f"host    {host.name}: {host.agents} of {counted(host.capacity, 'agent')}, {lease}"
    for sink in details.sinks:
        number = (
            f"{COUNTED_EVENTS:,} or more events" if sink.behind == COUNTED_EVENTS else counted(sink.behind, "event")
        )
        yield f"sink    {sink.name}: {f'{number}, {duration(sink.behind_s)} behind' if sink.behind else 'up to date'}"
    for agent in agents:
        if of_agent := details.agents.get(agent.name):
            yield ""
            yield from _agent_lines(agent, of_agent)


def _agent_lines(agent: Agent, details: AgentDetails) -> Iterator[str]:
    lease = "" if details.lease_left_s is None else f", lease expires in {details.lease_left_s:.0f} s"
    failures = f", {counted(details.failures, 'failure')} in a row" if details.failures else ""
    yield f"{agent.name}: {agent.state}{lease}{failures}" + (f" ({details.activity})" if details.activity else "")
    for blocker in details.why:
        yield f"  {blocker.text}" + (f" -> {blocker.fix}" if blocker.fix else "")
    counts: dict[str, int] = msgspec.to_builtins(agent.mail)
    mail = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count)
    yield f"  mail     {mail or 'none'}"
    if last := details.last_round:
        result = shown(last.reason or last.text.strip().rpartition("\n")[2], 80)
        task = f" on task {brief_id(last.task)}" if last.task else ""
        yield f"  last     round {brief_id(last.round_id)}{task}: {last.outcome} after {duration(last.duration_s)}" + (
            f": {result}" if result else ""
        )
    if details.session_id:
        yield f"  session  {shown(details.session_id)}"


def _size(size_bytes: int) -> str:
    for limit, unit in ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "kB")):
        if size_bytes >= limit:
            return f"{size_bytes / limit:.1f} {unit}"
    return f"{size_bytes} bytes"


def _shape(details: TownDetails) -> dict[str, Any]:
    """The details as JSON. `doing` is the former name of `activity`, kept for one release."""
    shape: dict[str, Any] = msgspec.to_builtins(details)
    for name, of_agent in details.agents.items():
        shape["agents"][name]["last_round"] = of_agent.last_round and round_shape(of_agent.last_round)
        shape["agents"][name]["doing"] = of_agent.activity
    return shape
