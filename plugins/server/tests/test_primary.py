"""A ``redis.url`` that names several servers, or sentinels: real servers on the loopback, which fail over."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from tinytown.errors import ConfigError, ServerUnreachable
from tinytown.redis import Address, parse_url
from tinytown_server.primary import SENTINEL_PASSWORD_VARIABLE, find_primary
from tinytown_server.server import find_binary

DEADLINE_S = 90.0


class Servers:
    """Servers of ours, by their ports."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, *settings: str, sentinel: bool = False) -> int:
        """A new one; its port, once it answers."""
        port = free_port()
        directory = self.home / str(port)
        directory.mkdir()
        text = [f"port {port}", "bind 127.0.0.1", f"dir {directory}", *([] if sentinel else ['save ""']), *settings]
        (directory / "server.conf").write_text("\n".join(text) + "\n")
        command = [find_binary().path, str(directory / "server.conf"), *(["--sentinel"] if sentinel else [])]
        self._processes[port] = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: self.ask(port, "PING")[:5] in ("+PONG", "-NOAU"))
        return port

    def ask(self, port: int, command: str) -> str:
        """The raw answer to an inline command; empty if there is none."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 2) as connection:
            connection.settimeout(2)
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(65536).decode(errors="replace")
        return ""

    def kill(self, port: int) -> None:
        self._processes[port].kill()
        self._processes[port].wait()

    def close(self) -> None:
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(check: Callable[[], object], within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def servers() -> Iterator[Servers]:
    home = Path(tempfile.mkdtemp(prefix="tt-", dir="/tmp"))
    servers = Servers(home)
    try:
        yield servers
    finally:
        servers.close()
        shutil.rmtree(home)


@pytest.fixture
def pair(servers: Servers) -> tuple[int, int]:
    """A primary and its replica."""
    primary = servers.start()
    replica = servers.start(f"replicaof 127.0.0.1 {primary}")
    wait_until(lambda: "state=online" in servers.ask(primary, "INFO replication"))
    return primary, replica


def watch(servers: Servers, primary: int, *settings: str) -> int:
    """A sentinel for the service ``main``; its port, once it knows the replica."""
    rules = (f"monitor main 127.0.0.1 {primary} 1", "down-after-milliseconds main 500", "failover-timeout main 3000")
    port = servers.start(*(f"sentinel {rule}" for rule in rules), *settings, sentinel=True)
    if not settings:
        wait_until(lambda: "slaves=1" in servers.ask(port, "INFO sentinel"))
    return port


def test_of_several_addresses_the_primary_is_found_whichever_it_is(servers: Servers, pair: tuple[int, int]) -> None:
    primary, replica = pair
    url = f"redis://127.0.0.1:{replica},127.0.0.1:{primary}/3"
    found = find_primary(url, parse_url)
    assert (found.port, found.db) == (primary, 3)
    servers.ask(replica, "REPLICAOF NO ONE")
    servers.ask(primary, f"REPLICAOF 127.0.0.1 {replica}")
    assert find_primary(url, parse_url).port == replica
    servers.kill(replica)
    with pytest.raises(ServerUnreachable) as caught:
        find_primary(url, parse_url)
    assert caught.value.code == "no_primary"
    assert "is a replica" in caught.value.message
    assert f"127.0.0.1:{replica}" in caught.value.message


def test_sentinels_are_asked_in_turn_with_a_password_of_their_own(
    servers: Servers, pair: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    primary, _ = pair
    sentinel = watch(servers, primary, "requirepass hidden")
    url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{sentinel}/main/2"
    with pytest.raises(ServerUnreachable, match="NOAUTH"):
        find_primary(url, parse_url)
    monkeypatch.setenv(SENTINEL_PASSWORD_VARIABLE, "hidden")
    found = find_primary(url, parse_url)
    assert (found.scheme, found.port, found.db, found.password) == ("redis", primary, 2, None)
    with pytest.raises(ServerUnreachable, match="knows no service 'other'"):
        find_primary(url.replace("main", "other"), parse_url)
    with pytest.raises(ServerUnreachable, match=r"unknown|ERR"):
        find_primary(f"redis+sentinel://127.0.0.1:{primary}/main", parse_url)


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://a,b",
        "redis+sentinel://a,,b/main",
        "redis+sentinel://:secret-word@a:x/main",
        "redis://:secret-word@a,b/x",
        "redis://,/0",
        "redis+sentinel://",
    ],
)
def test_a_malformed_url_is_an_error_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_primary(url, parse_url)
    assert "secret-word" not in f"{caught.value.message}{caught.value.hint}"


def test_credentials_and_options_are_those_of_the_server(servers: Servers) -> None:
    primary = servers.start("user town on >pw ~* &* +@all", "requirepass other")
    url = f"redis://town:pw@127.0.0.1:{free_port()},127.0.0.1:{primary}"
    found = find_primary(url, parse_url)
    assert found == Address("redis", host="127.0.0.1", port=primary, username="town", password="pw")


@pytest.mark.faults
@pytest.mark.parametrize("how", ["sentinel", "list"])
async def test_a_town_follows_a_failover_with_its_tasks_and_mail(town_dir, servers, pair, how) -> None:
    primary, replica = pair
    sentinel = await trio.to_thread.run_sync(watch, servers, primary) if how == "sentinel" else 0
    url = (
        f"redis+sentinel://127.0.0.1:{sentinel}/main"
        if sentinel
        else f"redis://127.0.0.1:{primary},127.0.0.1:{replica}"
    )
    town_dir.configure(f'default_cli = "shell"\nlease_s = 3.0\n[redis]\nurl = "{url}"\n')
    with trio.fail_after(DEADLINE_S):
        async with town_dir.open() as town:
            agent = await town.spawn("ada")
            first = await agent.assign("echo one")
            assert (await town.wait_for_task(first.id)).state == "completed"
            assert town.link.address.port == primary
            second = await agent.assign("while [ ! -e go ]; do sleep 0.05; done; echo two")
            await agent.wait_until(lambda agent: agent.state == "working")
            await town.link.command("WAIT", 1, 10_000)
            await trio.to_thread.run_sync(servers.kill, primary)
            if how == "list":
                servers.ask(replica, "REPLICAOF NO ONE")
            while town.link.address.port != replica or not town.link.connected:  # noqa: ASYNC110 - nothing announces it
                await trio.sleep(0.05)
            (town_dir.root / "go").touch()
            assert (await town.wait_for_task(second.id)).result == "two"
            assert (await town.task(first.id)).result == "one"


@pytest.mark.faults
async def test_connections_that_a_failover_leaves_open_are_made_again(town_dir, servers, pair) -> None:
    """The old primary lives on as a replica: it refuses writes, and that is reason enough to look for the new one."""
    primary, replica = pair
    url = f"redis://127.0.0.1:{primary},127.0.0.1:{replica}"
    town_dir.configure(f'default_cli = "shell"\nlease_s = 3.0\n[redis]\nurl = "{url}"\n')
    with trio.fail_after(DEADLINE_S):
        async with town_dir.open() as town:
            agent = await town.spawn("ada")
            await agent.wait_for_idle()
            await town.link.command("WAIT", 1, 10_000)
            servers.ask(replica, "REPLICAOF NO ONE")
            servers.ask(primary, f"REPLICAOF 127.0.0.1 {replica}")
            while town.link.address.port != replica:  # noqa: ASYNC110 - the next heartbeat is refused
                await trio.sleep(0.05)
            task = await agent.assign("echo done")
            assert (await town.wait_for_task(task.id)).state == "completed"


def found_problems(tt: Any) -> set[str]:
    findings = tt.json("doctor", code=1)["findings"]
    return {finding["check"] for finding in findings if finding["level"] == "problem"}


def test_commands_find_the_primary_each_time_and_doctor_says_what_is_supported(tt, servers, pair) -> None:
    primary, replica = pair
    url = f"redis://127.0.0.1:{primary},127.0.0.1:{replica}"
    tt("init", "--name", "shop", "--inside", "--redis-url", url)
    tt("backlog", "add", "one")
    servers.ask(primary, "WAIT 1 10000")
    servers.ask(replica, "REPLICAOF NO ONE")
    servers.ask(primary, f"REPLICAOF 127.0.0.1 {replica}")
    tt("backlog", "add", "two")
    assert len(tt.json("backlog", "list")["tasks"]) == 2
    assert found_problems(tt) == {"server access"}  # servers without a password
    assert f"127.0.0.1:{replica}/0 is the primary now" in tt("doctor", code=1).out
    error = tt("config", "set", "redis.url", "redis+sentinel://:word@127.0.0.1:1/main", "--json", code=2).error
    assert "password" in error["message"]
    tt("config", "set", "redis.url", f"redis://127.0.0.1:{primary}")
    assert found_problems(tt) == {"server"}
    assert "read-only replica" in tt("doctor", code=1).out
    tt("config", "set", "redis.url", f"redis://127.0.0.1:{replica}")
    assert found_problems(tt) == {"server access"}
    assert "redis+sentinel://" in tt("doctor", code=1).out


def test_a_node_of_a_cluster_gets_a_sentence_of_its_own(tt, servers) -> None:
    node = servers.start("cluster-enabled yes", f"cluster-port {free_port()}")
    tt("init", "--name", "shop", "--inside", "--redis-url", f"redis://127.0.0.1:{node}", code=5)
    servers.ask(node, "CLUSTER ADDSLOTSRANGE 0 16383")
    wait_until(lambda: "cluster_state:ok" in servers.ask(node, "CLUSTER INFO"))
    tt("init", "--name", "town", "--inside", "--redis-url", f"redis://127.0.0.1:{node}")
    tt("backlog", "add", "one")
    assert "is a node of a Redis Cluster" in tt("doctor", code=1).out
    bus = free_port()  # by itself it would be the port and 10,000, which may be too high, or taken
    other = servers.start("cluster-enabled yes", f"cluster-port {bus}")
    slot = int(servers.ask(node, "CLUSTER KEYSLOT tt:{town}:meta").strip(":\r\n"))
    identity = servers.ask(other, "CLUSTER MYID").split()[1]
    servers.ask(node, f"CLUSTER MEET 127.0.0.1 {other} {bus}")
    wait_until(lambda: identity in servers.ask(node, "CLUSTER NODES"))
    servers.ask(node, f"CLUSTER SETSLOT {slot} MIGRATING {identity}")
    servers.ask(node, "FLUSHALL")
    wait_until(lambda: "OK" in servers.ask(node, f"CLUSTER SETSLOT {slot} NODE {identity}"))
    error = tt("backlog", "add", "two", "--json", code=5).error
    assert error["code"] == "server_clustered"
    assert "Redis Cluster" in error["message"]
