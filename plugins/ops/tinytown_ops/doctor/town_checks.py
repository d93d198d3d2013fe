"""What ``tt doctor`` checks in a town that answers: server, clock, kernels, leases, agents, sinks, dead letters."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tinytown import __version__
from tinytown.client import TownClient
from tinytown.contracts import Finding, HealthCheck
from tinytown.errors import TinytownError
from tinytown.kernel import running_kernel
from tinytown.model.agents import Agent
from tinytown.model.text import counted, shown
from tinytown.model.time import parse_rfc3339
from tinytown.protocol import TOWN_LIBRARY

from tinytown_ops.explain.deep_status import COUNTED_EVENTS, read_sink_lags
from tinytown_ops.explain.leases import lease_left
from tinytown_ops.explain.server_health import read_server_health

_SKEW_NOTE_S = 2.0
_SKEW_PROBLEM_S = 60.0
_MEMORY_SHARE = 0.9
_SLOW_START_S = 60.0
_OVERTIME_S = 60.0  # how long the kernel may take to cut off a round that is over its limit
_NAMED = 4


@dataclass(frozen=True, slots=True)
class TownCheck(HealthCheck):
    """A health check that is one function of the town."""

    name: str
    find: Callable[[TownClient], Iterator[Finding]]

    def check(self, town: TownClient) -> Sequence[Finding]:
        """What the function finds. Raises: what `TownClient` raises."""
        return tuple(self.find(town))


def check_server_data(town: TownClient) -> Iterator[Finding]:
    """Whether the server keeps its data on disk, and has memory left."""
    server = read_server_health(town)
    if not server.ok:
        found = f"the last write of its {server.persistence} failed"
        yield Finding("server data", "problem", found, "free some space on its disk and read its log")
    elif server.persistence == "none":
        found = "the server keeps nothing on disk: a restart loses the town"
        yield Finding("server data", "note", found, "set appendonly yes in its configuration")
    elif server.sync in ("every second", "never"):
        found = f"{server.persistence}, synced {server.sync}: the last writes are lost if its machine fails"
        is_embedded = town.config.redis.url is None
        fix = 'set redis.durability to "safe"' if is_embedded else "set appendfsync always in its configuration"
        yield Finding("server data", "note", found, fix)
    else:
        synced = "" if server.sync == "unknown" else f", synced {server.sync}"
        yield Finding("server data", "ok", f"{server.persistence}{synced}")
    if server.memory_limit_bytes and server.memory_bytes > _MEMORY_SHARE * server.memory_limit_bytes:
        found = f"{server.memory_bytes:,} of {server.memory_limit_bytes:,} bytes of memory are used"
        yield Finding("server memory", "problem", found, "raise maxmemory: a full server refuses writes")


def check_functions(town: TownClient) -> Iterator[Finding]:
    """Whether the server has functions of other versions. Only people know whether another version is still in use."""
    libraries: list[dict[bytes, bytes]] = []
    with suppress(TinytownError):  # a server may forbid the command
        libraries = town.client.command("FUNCTION", "LIST", "LIBRARYNAME", f"{TOWN_LIBRARY.name}_*")
    names = {library[b"library_name"].decode() for library in libraries}
    if others := sorted(names - {f"{TOWN_LIBRARY.name}_{TOWN_LIBRARY.digest}"}):
        listed = ", ".join(others[:_NAMED]) + (", ..." if len(others) > _NAMED else "")
        found = f"functions of other versions of Tinytown: {listed}"
        fix = "if no other version uses this server: FUNCTION DELETE NAME; a client that needs one loads it again"
        yield Finding("server functions", "note", found, fix)


def check_clock(town: TownClient) -> Iterator[Finding]:
    """Whether this machine's clock agrees with the server's."""
    before = time.time()
    server_s = town.now_ms() / 1000
    skew_s = server_s - (before + time.time()) / 2
    found = f"{abs(skew_s):.1f} s {'behind' if skew_s > 0 else 'ahead of'} the server's clock"
    if abs(skew_s) > _SKEW_PROBLEM_S:
        yield Finding("clock", "problem", found, "synchronize both machines with NTP")
    elif abs(skew_s) > _SKEW_NOTE_S:
        yield Finding("clock", "note", found, "leases use the server's clock only; synchronize both with NTP anyway")
    else:
        yield Finding("clock", "ok", "in sync with the server's clock")


def check_kernels(town: TownClient) -> Iterator[Finding]:
    """Whether a kernel is running, holds its lease, and has this version."""
    hosts, now_ms = town.run(town.operations.hosts()), town.now_ms()
    live = [host for host in hosts if lease_left(host, now_ms) > 0]
    if pid := running_kernel(town.root):
        yield Finding("kernel", "ok", f"running as process {pid}")
    elif live:
        yield Finding("kernel", "ok", f"running on {live[0].name}, not on this machine")
    else:
        yield Finding("kernel", "note", "not running", "tt start --background")
    for host in hosts:
        if host not in live:
            found = (
                f"the lease of the kernel on {host.name} (process {host.pid}) expired; "
                f"it holds {counted(host.agents, 'agent')}"
            )
            yield Finding("leases", "note", found, "any running kernel releases them: tt start")
        elif host.version and host.version != __version__:
            found = f"the kernel on {host.name} has version {host.version}, this is {__version__}"
            yield Finding("kernel version", "note", found, "restart it: tt stop, tt start --background")


def check_agents(town: TownClient) -> Iterator[Finding]:
    """Whether agents are in error, stuck, or held by a kernel that is gone."""
    agents, hosts = town.run_all([town.operations.agents(), town.operations.hosts()])
    now_ms, host_ids = town.now_ms(), {host.id for host in hosts}
    findings = [
        finding for agent in agents if (finding := _check_agent(town, agent, host_ids, now_ms=now_ms)) is not None
    ]
    yield from findings
    if agents and not findings:
        yield Finding("agents", "ok", f"{counted(len(agents), 'agent')}, no problems")


def _check_agent(town: TownClient, agent: Agent, host_ids: set[str], *, now_ms: int) -> Finding | None:
    limits = town.config.round
    state_s = (now_ms - parse_rfc3339(agent.since)) / 1000 if agent.since else 0.0
    name, reason = agent.name, shown(agent.reason or "", 300)
    if agent.state == "error":
        found = f"{name} is in error: {reason or 'no reason given'}"
        return Finding("agents", "problem", found, f"fix it, then run tt resume {name}")
    if agent.host and agent.host not in host_ids:
        found = f"{name} is held by a kernel that is gone"
        return Finding("agents", "problem", found, "tt start: any running kernel releases it")
    if agent.state == "working" and limits.timeout_s and state_s > limits.timeout_s + limits.grace_s + _OVERTIME_S:
        found = f"{name} has been working for {state_s:.0f} s, longer than round.timeout_s"
        return Finding("agents", "problem", found, f"tt interrupt {name} --now")
    if agent.state == "starting" and not agent.host and host_ids and state_s > _SLOW_START_S:
        found = f"{name} has been waiting for a kernel for {state_s:.0f} s{f': {reason}' if reason else ''}"
        return Finding("agents", "note", found, "tt status --deep explains why")
    return None


def check_sinks(town: TownClient) -> Iterator[Finding]:
    """Whether a status sink is far behind."""
    for sink in read_sink_lags(town):
        if sink.behind >= COUNTED_EVENTS:
            found = f"sink {sink.name} is {COUNTED_EVENTS:,} or more events behind"
            yield Finding("sinks", "note", found, "tt events --type plugin_reported shows its errors")


def check_dead_letters(town: TownClient) -> Iterator[Finding]:
    """Whether there are messages that could not be delivered."""
    if dead := town.run(town.operations.status(agents=False)).dead:
        yield Finding("dead letters", "note", f"{counted(dead, 'message')} could not be delivered", "tt dead list")


TOWN_CHECKS: tuple[HealthCheck, ...] = (
    TownCheck("server-data", check_server_data),
    TownCheck("functions", check_functions),
    TownCheck("clock", check_clock),
    TownCheck("kernels", check_kernels),
    TownCheck("agents", check_agents),
    TownCheck("sinks", check_sinks),
    TownCheck("dead-letters", check_dead_letters),
)
