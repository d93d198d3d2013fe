"""What ``tt doctor`` looks at in a town that answers: server, clock, kernels, leases, agents, sinks, dead letters."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

from tinytown import __version__
from tinytown.client import TownClient
from tinytown.errors import TinytownError
from tinytown.kernel import running_kernel
from tinytown.model.agents import Agent
from tinytown.model.results import Host
from tinytown.model.text import counted, shown
from tinytown.model.time import parse_rfc3339
from tinytown.protocol import TOWN_LIBRARY
from tinytown_ops.doctor.finding import Finding
from tinytown_ops.explain.deep_status import Depth, ServerHealth, look_deep

_SKEW_TOLD_S = 2.0
_SKEW_BAD_S = 60.0
_MEMORY_SHARE = 0.9
_SLOW_START_S = 60.0
_OVERTIME_S = 60.0  # what a round may take beyond its limit until its kernel has cut it off
_FAR_BEHIND = 1000
_NAMED = 4


def examine_town(link: TownClient) -> Iterator[Finding]:
    """Everything that is worth knowing of the town's data and of the kernels that work on it."""
    depth = look_deep(link)
    yield from _server(depth.server, is_ours=link.config.redis.url is None)
    yield from _libraries(link)
    yield _clock(link)
    agents, hosts, kernels = link.run_all(
        [link.operations.agents(), link.operations.hosts(), link.operations.status(agents=False)]
    )
    yield _kernel(link, kernels.hosts)
    yield from _hosts(hosts, depth)
    yield from _agents(link, agents, {each.id for each in hosts})
    for sink in depth.sinks:
        if sink.behind >= _FAR_BEHIND:
            found = f"sink {sink.name} has {sink.behind} events or more to take"
            yield Finding("sinks", "note", found, "see what it says in tt events --type plugin_reported")
    if kernels.dead:
        yield Finding("dead letters", "note", f"{counted(kernels.dead, 'message')} given up", "tt dead list")


def _server(server: ServerHealth, *, is_ours: bool) -> Iterator[Finding]:
    if not server.ok:
        found = f"the last write of its {server.persistence} failed"
        yield Finding("server data", "problem", found, "make room on its disk and see its log")
    elif server.persistence == "none":
        found = "the server keeps nothing on disk: a restart of it loses the town"
        yield Finding("server data", "note", found, "set appendonly yes in its configuration")
    elif server.sync in ("every second", "never"):
        found = f"kept by {server.persistence}, synced {server.sync}: the last writes are lost when its machine dies"
        fix = 'set redis.durability to "safe"' if is_ours else "set appendfsync always in its configuration"
        yield Finding("server data", "note", found, fix)
    else:
        synced = "" if server.sync == "unknown" else f", synced {server.sync}"
        yield Finding("server data", "ok", f"kept by {server.persistence}{synced}")
    if server.memory_limit_bytes and server.memory_bytes > _MEMORY_SHARE * server.memory_limit_bytes:
        found = f"{server.memory_bytes:,} of {server.memory_limit_bytes:,} bytes of its memory are used"
        yield Finding(
            "server memory", "problem", found, "raise maxmemory: without room the server refuses every change"
        )


def _libraries(link: TownClient) -> Iterator[Finding]:
    """Function libraries of other versions. Only people know whether somebody still uses one."""
    listed: list[dict[bytes, bytes]] = []
    with suppress(TinytownError):  # not everybody may ask
        listed = link.client.command("FUNCTION", "LIST", "LIBRARYNAME", "tinytown_*")
    ours = {f"tinytown_{TOWN_LIBRARY.digest}"}
    others = sorted({each[b"library_name"].decode() for each in listed} - ours)
    if others:
        shown_names = ", ".join(others[:_NAMED]) + (", ..." if len(others) > _NAMED else "")
        found = f"{counted(len(others), 'set')} of functions of other versions of Tinytown: {shown_names}"
        fix = "when no other version uses the server: FUNCTION DELETE <name> there; whoever needs one after all loads it again"
        yield Finding("server functions", "note", found, fix)


def _clock(link: TownClient) -> Finding:
    before = time.time()
    server_s = link.now_ms() / 1000
    skew_s = server_s - (before + time.time()) / 2
    found = f"{abs(skew_s):.1f} s {'behind' if skew_s > 0 else 'ahead of'} the server's"
    if abs(skew_s) > _SKEW_BAD_S:
        return Finding("clock", "problem", found, "set this machine's clock, or the server's: keep both by NTP")
    if abs(skew_s) > _SKEW_TOLD_S:
        return Finding("clock", "note", found, "leases go by the server's clock alone; keep both by NTP all the same")
    return Finding("clock", "ok", "as the server's")


def _kernel(link: TownClient, hosts: tuple[Host, ...]) -> Finding:
    if pid := running_kernel(link.root):
        return Finding("kernel", "ok", f"runs as process {pid}")
    if hosts:
        return Finding("kernel", "ok", f"runs on {hosts[0].name}, not on this machine")
    return Finding("kernel", "note", "none runs", "tt start --background")


def _hosts(hosts: tuple[Host, ...], depth: Depth) -> Iterator[Finding]:
    lease_left_s = {each.id: each.lease_left_s for each in depth.hosts}
    for host in hosts:
        if lease_left_s.get(host.id, 0.0) <= 0:
            whose = f"the kernel on {host.name} (process {host.pid})"
            found = f"the lease of {whose} is over, and it has {counted(host.agents, 'agent')}"
            yield Finding("leases", "note", found, "the next kernel that comes, or goes on, frees them: tt start")
        elif host.version and host.version != __version__:
            found = f"the kernel on {host.name} is of version {host.version}, this is {__version__}"
            yield Finding("kernel version", "note", found, "restart it: tt stop, tt start --background")


def _agents(link: TownClient, agents: tuple[Agent, ...], hosts: set[str]) -> Iterator[Finding]:
    now_ms, limits, troubled = link.now_ms(), link.config.round, 0
    for agent in agents:
        state_s = (now_ms - parse_rfc3339(agent.since)) / 1000 if agent.since else 0.0
        told: tuple[str, str] | None = None
        if agent.state == "error":
            told = (
                f"is in error: {shown(agent.reason or 'no reason given', 300)}",
                f"mend that, then tt resume {agent.name}",
            )
        elif agent.host and agent.host not in hosts:
            told = ("is held by a kernel that is not there", "tt start: the next kernel frees it")
        elif (
            agent.state == "working" and limits.timeout_s and state_s > limits.timeout_s + limits.grace_s + _OVERTIME_S
        ):
            told = (f"has worked for {state_s:.0f} s, beyond round.timeout_s", f"tt interrupt {agent.name} --now")
        if told is not None:
            troubled += 1
            yield Finding("agents", "problem", f"{agent.name} {told[0]}", told[1])
        elif agent.state == "starting" and not agent.host and hosts and state_s > _SLOW_START_S:
            troubled += 1
            found = f"{agent.name} waits for a kernel for {state_s:.0f} s: {shown(agent.reason or '', 200)}"
            yield Finding("agents", "note", found, f"tt status --deep says why {agent.name} waits")
    if agents and not troubled:
        yield Finding("agents", "ok", f"{len(agents)}, none in trouble")
