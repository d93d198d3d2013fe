"""What ``tt status --deep`` adds: of each agent its latest round and why it waits, how the server is, how far sinks are
behind. A constant number of exchanges with the server, however many agents there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from tinytown.client import TownClient
from tinytown.errors import TinytownError
from tinytown.model.agents import Agent
from tinytown.model.hash_codec import pairs
from tinytown.model.results import Host
from tinytown.model.round_records import RoundRecord
from tinytown.model.text import counted, shown
from tinytown.model.time import parse_rfc3339
from tinytown_ops.explain.blockers import Obstacle, nothing_to_do, why_agent
from tinytown_ops.explain.history_command import duration, round_shape
from tinytown_ops.explain.why_command import gather

#: Further behind than this is not counted.
_COUNTED = 1000

_SYNCS = {"always": "at every write", "everysec": "every second", "no": "never"}


class AgentDepth(msgspec.Struct, frozen=True, kw_only=True):
    """An agent looked at closely. `why` are obstacles; where there are none, `doing` says in words what it is about."""

    last_round: RoundRecord | None
    session_id: str | None
    failures: int
    lease_left_s: float | None
    doing: str
    why: tuple[Obstacle, ...] = ()


class ServerHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How the server is. `persistence` is ``append-only file``, ``snapshots`` or ``none``, and `ok` whether its last write
    went well. `sync` is when it sees to it that an append-only file is on the disk: ``at every write`` (before that is
    acknowledged), ``every second``, ``never`` or ``unknown``. A memory limit of 0 is none."""

    memory_bytes: int
    memory_limit_bytes: int
    persistence: str
    sync: str
    ok: bool
    clients: int
    uptime_s: int


class SinkLag(msgspec.Struct, frozen=True, kw_only=True):
    """How many events a sink has still to take, counted up to 1,000, and how old the last one is that it took."""

    name: str
    behind: int
    behind_s: float


class HostDepth(msgspec.Struct, frozen=True, kw_only=True):
    """A kernel with what it has room for and how long its lease lasts; a lease that is over is below 0."""

    id: str
    name: str
    agents: int
    capacity: int
    lease_left_s: float


class Depth(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is only looked at on demand."""

    agents: dict[str, AgentDepth]
    server: ServerHealth
    sinks: tuple[SinkLag, ...]
    hosts: tuple[HostDepth, ...]


def look_deep(town: TownClient) -> Depth:
    """The town looked at closely."""
    situation = gather(town, [])
    agents = situation.agents
    hosts, latest, cursors, *rounds = town.run_all(
        [
            town.operations.hosts(),
            town.operations.latest_events(1),
            town.operations.cursors(),
            *(town.operations.rounds(each.id, limit=1) for each in agents),
        ]
    )
    left_s = {each.id: _left_s(each, situation.now_ms) for each in hosts}
    depths: dict[str, AgentDepth] = {}
    for agent, records in zip(agents, rounds, strict=True):
        why = why_agent(agent, situation)
        depths[agent.name] = AgentDepth(
            last_round=records[0] if records else None,
            session_id=agent.session_id,
            failures=agent.failures,
            lease_left_s=left_s.get(agent.host or ""),
            doing="" if why else nothing_to_do(agent),
            why=why,
        )
    newest = latest[-1].id if latest else "0-0"
    return Depth(
        agents=depths,
        server=server_health(town),
        sinks=tuple(_lag(town, name, position, newest) for name, position in sorted(cursors.items())),
        hosts=tuple(
            HostDepth(
                id=each.id, name=each.name, agents=each.agents, capacity=each.capacity, lease_left_s=left_s[each.id]
            )
            for each in hosts
        ),
    )


def server_health(town: TownClient) -> ServerHealth:
    """How the server says it is. Raises what `TownClient` raises."""
    told = town.server_info()

    def number(name: str) -> int:
        return int(told.get(name) or 0)

    appends = number("aof_enabled") == 1
    written = told.get("aof_last_write_status", "ok") == "ok" and told.get("aof_last_bgrewrite_status", "ok") == "ok"
    return ServerHealth(
        memory_bytes=number("used_memory"),
        memory_limit_bytes=number("maxmemory"),
        persistence="append-only file" if appends else "snapshots" if _setting(town, "save") != "" else "none",
        sync=_SYNCS.get(_setting(town, "appendfsync") or "", "unknown") if appends else "unknown",
        ok=written if appends else told.get("rdb_last_bgsave_status", "ok") == "ok",
        clients=number("connected_clients"),
        uptime_s=number("uptime_in_seconds"),
    )


def _setting(town: TownClient, name: str) -> str | None:
    """A setting of the server; None from one that tells nobody, as hosted ones do."""
    try:
        answer = town.client.command("CONFIG", "GET", name)
    except TinytownError:
        return None
    return pairs(answer).get(name)


def _left_s(host: Host, now_ms: int) -> float:
    return round((parse_rfc3339(host.lease_until) - now_ms) / 1000, 3) if host.lease_until else 0.0


def _lag(town: TownClient, name: str, position: str, newest: str) -> SinkLag:
    behind = len(town.run(town.operations.events_after(position, count=_COUNTED)))
    ms = [int(each.partition("-")[0]) for each in (newest, position)]
    return SinkLag(name=name, behind=behind, behind_s=max(0, ms[0] - ms[1]) / 1000 if behind else 0.0)


def deep_lines(depth: Depth, agents: Sequence[Agent]) -> Iterator[str]:
    """The same for people."""
    server = depth.server
    limit = f" of {_size(server.memory_limit_bytes)}" if server.memory_limit_bytes else ""
    synced = "" if server.sync == "unknown" else f", synced {server.sync}"
    kept = f"{server.persistence}{synced}{'' if server.ok else ', whose LAST WRITE FAILED'}"
    yield ""
    memory = f"{_size(server.memory_bytes)}{limit} of memory"
    yield f"server  {memory}, {kept}, {counted(server.clients, 'client')}, up {duration(server.uptime_s)}"
    for host in depth.hosts:
        lease = f"lease {host.lease_left_s:.0f} s" if host.lease_left_s > 0 else "lease is over"
        yield f"host    {host.name}: {host.agents} of {counted(host.capacity, 'agent')}, {lease}"
    for sink in depth.sinks:
        number = f"{_COUNTED:,} events or more" if sink.behind == _COUNTED else counted(sink.behind, "event")
        behind = f"{number}, {duration(sink.behind_s)} behind"
        yield f"sink    {sink.name}: {behind if sink.behind else 'has them all'}"
    for agent in agents:
        if looked := depth.agents.get(agent.name):
            yield ""
            yield from _agent_lines(agent, looked)


def _agent_lines(agent: Agent, looked: AgentDepth) -> Iterator[str]:
    lease = "" if looked.lease_left_s is None else f", lease {looked.lease_left_s:.0f} s"
    failures = f", {looked.failures} failures in a row" if looked.failures else ""
    yield f"{agent.name}: {agent.state}{lease}{failures}" + (f" ({looked.doing})" if looked.doing else "")
    for each in looked.why:
        yield f"  {each.text}" + (f" -> {each.fix}" if each.fix else "")
    mail = msgspec.to_builtins(agent.mail)
    told = ", ".join(f"{count} {name}" for name, count in mail.items() if count)
    yield f"  mail     {told or 'none'}"
    if last := looked.last_round:
        said = shown(last.reason or last.text.strip().rpartition("\n")[2], 80)
        task = f" on task {last.task[:8]}" if last.task else ""
        yield f"  last     round {last.round_id[:8]}{task}: {last.outcome} after {duration(last.duration_s)}" + (
            f": {said}" if said else ""
        )
    if looked.session_id:
        yield f"  session  {shown(looked.session_id)}"


def _size(size_bytes: int) -> str:
    for limit, unit in ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "kB")):
        if size_bytes >= limit:
            return f"{size_bytes / limit:.1f} {unit}"
    return f"{size_bytes} bytes"


def depth_shape(depth: Depth) -> dict[str, Any]:
    """The same as JSON."""
    shape: dict[str, Any] = msgspec.to_builtins(depth)
    for name, looked in depth.agents.items():
        shape["agents"][name]["last_round"] = looked.last_round and round_shape(looked.last_round)
    return shape
