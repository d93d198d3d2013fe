"""What ``tt doctor`` checks in a town that answers: server, clock, kernels, leases, agents, sinks, dead letters."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec
from tinytown import __version__
from tinytown.errors import TinytownError
from tinytown.kernel import running_kernel
from tinytown.model.agents import Agent
from tinytown.model.events import SinkGap
from tinytown.model.text import counted, shown
from tinytown.model.time import parse_rfc3339
from tinytown.packages import install_hint
from tinytown.plugin import survey_plugins
from tinytown.protocol import TOWN_LIBRARY, Operation
from tinytown_cli.blocking_client import BlockingClient
from tinytown_cli.client import TownClient
from tinytown_cli.contracts import Finding, HealthCheck
from tinytown_cli.secrets import names_several
from tinytown_cli.staleness import RELOAD, why_reload
from tinytown_cli.unenforced import unenforced_kinds

from tinytown_ops.explain.deep_status import COUNTED_EVENTS, read_sink_lags
from tinytown_ops.explain.leases import lease_left
from tinytown_ops.explain.server_health import read_server_health
from tinytown_ops.watchdog.stalls import Stall, read_stalls, stalls_file

_SKEW_NOTE_S = 2.0
_SKEW_PROBLEM_S = 60.0
_MEMORY_SHARE = 0.9
_SLOW_START_S = 60.0
_OVERTIME_S = 60.0  # how long the kernel may take to cut off a round that is over its limit
_NAMED = 4
_LATELY_S = 86_400.0
_ONGOING_S = 2.0
_SUPPORTED = (
    "one server, the addresses of a primary and its replicas (redis://A,B), or sentinels (redis+sentinel://A,B/SERVICE)"
)
_LITTLE_ROOM = 1000  # events
_LATEST = 2000  # events


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
    if server.eviction not in ("", "noeviction"):
        found = f"its maxmemory-policy is {server.eviction}: it deletes tasks and mail when its memory is full"
        yield Finding("server memory", "problem", found, "set maxmemory-policy noeviction in its configuration")
    if server.version.startswith("Redis 7.0."):
        found = "Redis 7.0 may keep half of what a function wrote when it crashes or its disk is full"
        yield Finding("server version", "note", found, "upgrade to Redis 7.2 or newer, or to Valkey")


def check_server_kind(town: TownClient) -> Iterator[Finding]:
    """Whether the server is of a kind that a town can rely on: no node of a cluster."""
    info, url = town.server_info(), town.config.redis.url
    mode = info.get("redis_mode") or info.get("server_mode") or "standalone"
    if mode == "cluster":
        found = "the server is a node of a Redis Cluster: the town stops working once its slot moves to another node"
        yield Finding("server kind", "problem", found, f"use {_SUPPORTED}")
    elif url is not None and names_several(url):
        yield Finding("server kind", "ok", f"{town.client.address.redacted} is the primary now; a failover is followed")
    elif url is not None:
        found = f"a single server; what is supported: {_SUPPORTED}"
        yield Finding("server kind", "ok", found)


def check_records(town: TownClient) -> Iterator[Finding]:
    """Whether the records of all listed agents and tasks exist."""
    base = town.operations.keys.base
    for kind in ("agent", "task"):
        ids = [id_.decode() for id_ in town.client.command("ZRANGE", f"{base}:{kind}s", 0, -1)]
        exist = town.client.run_all([Operation(("EXISTS", f"{base}:{kind}:{id_}"), int) for id_ in ids])
        if gone := [id_ for id_, exists in zip(ids, exist, strict=True) if exists == 0]:
            listed = ", ".join(gone[:_NAMED]) + (", ..." if len(gone) > _NAMED else "")
            found = f"{counted(len(gone), f'{kind} record')} vanished from the server: {listed}"
            fix = "lists leave them out; tt restore of a snapshot brings them back into an empty town"
            yield Finding("records", "problem", found, fix)


def check_rights(town: TownClient) -> Iterator[Finding]:
    """Whether the user of ``redis.url`` may do what a town needs."""
    keys, refused = town.operations.keys, list[str]()
    for words in (
        ("FUNCTION", "LIST", "LIBRARYNAME", "tinytown_none"),
        ("PUBLISH", keys.placement_channel, "placement"),
        ("XREVRANGE", keys.events, "+", "-", "COUNT", 1),
        ("CONFIG", "GET", "maxmemory-policy"),
        ("INFO", "server"),
    ):
        try:
            town.client.command(*words)
        except TinytownError as error:
            if "NOPERM" in error.message:
                refused.append(str(words[0]))
    if refused:
        found = f"the user of redis.url may not use {', '.join(refused)}"
        yield Finding("server rights", "note", found, "see the rights that a town needs in the manual, under Hosts")


def check_access(town: TownClient) -> Iterator[Finding]:
    """Whether the server asks who somebody is. From a box with the network a port is reached like a person's."""
    address = msgspec.structs.replace(town.client.address, username=None, password=None, password_file=None)
    with suppress(TinytownError), BlockingClient(address) as anybody:
        anybody.command("PING")
        found = "the server lets in whoever reaches it, without a password"
        fix = "set requirepass in its configuration, and its password as TINYTOWN_REDIS_PASSWORD or a password_file"
        yield Finding("server access", "note" if address.scheme == "unix" else "problem", found, fix)


def check_authority(town: TownClient) -> Iterator[Finding]:
    """Whether something limits what rounds may do in the town, and something enforces the permissions of each kind."""
    plugins = survey_plugins(town.config, town.root)
    if not plugins.contributed("round_access"):
        found = "no plugin limits what rounds may do in the town: an agent can act as a person, or not at all"
        yield Finding("rights", "problem", found, install_hint("parts", "rights"))
    for kind, why in unenforced_kinds(plugins, town.config).items():
        fix = f'until then its agents do not start; permissions = "full" in its settings runs {kind} unconfined'
        yield Finding("permissions", "problem", f"{kind}: {why}", fix)


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
    """Whether a kernel is running, holds its lease, has this version, and a machine that can run rounds."""
    hosts, now_ms = town.run(town.operations.hosts()), town.now_ms()
    live = [host for host in hosts if lease_left(host, now_ms) > 0]
    if pid := running_kernel(town.root):
        yield Finding("kernel", "ok", f"running as process {pid}")
        if changed := why_reload(town.root, live, pid):
            yield Finding("kernel", "note", f"{changed} since it started", RELOAD)
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
        if host.trouble:
            found = f"the kernel on {host.name} begins no rounds for now: {host.trouble}"
            yield Finding("host", "problem", found, "it tries again by itself, after growing pauses")


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
    """Whether a status sink, or a service that reads events, is far behind, about to lose some, or has lost some lately.

    Only what is installed here: the position of a sink outlives it.
    """
    installed = {service.name for service in survey_plugins(town.config, town.root).services}
    for sink in read_sink_lags(town):
        if sink.name not in installed and not sink.name.startswith("service:"):
            continue
        left = _events_before_a_loss(town, sink.name)
        if sink.behind and left < _LITTLE_ROOM:
            found = (
                f"sink {sink.name}: the town keeps {counted(left, 'further event')} before the oldest are lost to it"
            )
            fix = "raise limits.events and restart the kernel; tt events --type plugin_reported shows its errors"
            yield Finding("sinks", "problem", found, fix)
        elif sink.behind >= COUNTED_EVENTS:
            found = f"sink {sink.name} is {COUNTED_EVENTS:,} or more events behind"
            yield Finding("sinks", "note", found, "tt events --type plugin_reported shows its errors")
    gaps = [event for event in town.run(town.operations.latest_events(_LATEST)) if isinstance(event, SinkGap)]
    for name, times in Counter(event.sink for event in gaps).items():
        last = max(event.at for event in gaps if event.sink == name)
        found = f"sink {name} missed events {counted(times, 'time')}, last at {last}: the town no longer had them"
        yield Finding(
            "sinks", "note", found, "raise limits.events; tt events --type sink_gap shows from where to where"
        )


def _events_before_a_loss(town: TownClient, name: str) -> int:
    """How many events may happen before one is removed that the sink has not taken; counted to `_LITTLE_ROOM`."""
    from tinytown_sinks import position_of  # late: it imports trio

    stream, cursor = town.operations.keys.events, town.run(position_of(town.operations.keys, name)) or "0"
    kept = int(town.client.command("XLEN", stream))
    room = max(0, town.config.limits.events - kept)
    if cursor != "0":
        room += len(town.client.command("XRANGE", stream, "-", cursor, "COUNT", _LITTLE_ROOM))
    return min(_LITTLE_ROOM, room)


def check_stalls(town: TownClient) -> Iterator[Finding]:
    """Whether a plugin holds up the kernel of this machine, or did so lately."""
    by_plugin: dict[str, list[Stall]] = {}
    for stall in read_stalls(town.root):
        if time.time() - parse_rfc3339(stall.since) / 1000 < _LATELY_S:
            by_plugin.setdefault(stall.plugin, []).append(stall)
    for plugin, stalls in by_plugin.items():
        last = stalls[-1]
        fix = "update the plugin, or block it with blocked_plugins"
        if not last.is_over and time.time() - stalls_file(town.root).stat().st_mtime < _ONGOING_S:
            found = f"plugin {plugin} holds up the kernel since {last.since}, in {last.function} ({last.stack[0]})"
            yield Finding("event loop", "problem", found, fix)
        else:
            longest_s = max(stall.seconds for stall in stalls)
            times = counted(len(stalls), "time")
            found = f"plugin {plugin} held up the kernel {times} in a day, {longest_s:.1f} s at most, last in {last.function}"
            yield Finding("event loop", "note", found, fix)


def check_dead_letters(town: TownClient) -> Iterator[Finding]:
    """Whether there are messages that could not be delivered."""
    if dead := town.run(town.operations.status(agents=False)).dead:
        yield Finding("dead letters", "note", f"{counted(dead, 'message')} could not be delivered", "tt dead list")


TOWN_CHECKS: tuple[HealthCheck, ...] = (
    TownCheck("server-data", check_server_data),
    TownCheck("server-kind", check_server_kind),
    TownCheck("rights", check_rights),
    TownCheck("access", check_access),
    TownCheck("authority", check_authority),
    TownCheck("records", check_records),
    TownCheck("functions", check_functions),
    TownCheck("clock", check_clock),
    TownCheck("kernels", check_kernels),
    TownCheck("agents", check_agents),
    TownCheck("sinks", check_sinks),
    TownCheck("event-loop", check_stalls),
    TownCheck("dead-letters", check_dead_letters),
)
