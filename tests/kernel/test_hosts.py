"""Several hosts of one town, each a process of its own with a directory of its own, and a cable to the server that is cut."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio
from tinytown.redis.url import Address
from tinytown_cli.blocking_client import BlockingClient
from tinytown_server.server import find_binary

from tests.chaos.stage import Gate

LEASE_S = 1.5
SLACK_S = 1.0
HELD = "echo $TINYTOWN_ROUND_ID >> runs; while [ ! -e go ]; do sleep 0.02; done; echo done"


class Network:
    """A server with a Unix socket and a TCP port, and towns' directories that know it by an address."""

    def __init__(self, start: Callable[..., Any], town_dir: Any) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="tt-", dir="/tmp"))
        self.socket = self.home / "s"
        self.port = free_port()
        self._make = type(town_dir)
        self._start = start
        self.places: list[Any] = []
        options = ["--bind", "127.0.0.1", "--unixsocket", str(self.socket), "--dir", str(self.home), "--save", ""]
        command = [str(find_binary().path), "--port", str(self.port), *options]
        self._server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._server.stdout is not None
        next(line for line in self._server.stdout if "Ready to accept" in line)
        self._server.stdout.close()

    def checkout(self, url: str = "", extra: str = "") -> Any:
        """A directory of its own of the one town; `extra` are more settings."""
        root = Path(tempfile.mkdtemp(prefix="tt-", dir="/tmp")).resolve()
        made = self._make(root)
        text = f'default_cli = "shell"\nlease_s = {LEASE_S}\n[redis]\nurl = "{url or f"unix://{self.socket}"}"\n'
        made.configure(text + extra, grace_s=0.1)
        self.places.append(made)
        return made

    async def start(self, town_dir: Any, **options: Any) -> Any:
        """A kernel in the directory, running."""
        return await trio.to_thread.run_sync(functools.partial(self._start, town_dir.root, **options))

    def listen_on(self, address: str) -> None:
        """Serve another address of this machine, too."""
        with BlockingClient(Address("unix", path=str(self.socket))) as client:
            client.command("CONFIG", "SET", "bind", f"127.0.0.1 {address}", "protected-mode", "no")

    def close(self) -> None:
        self._server.kill()
        self._server.wait()
        for town_dir in self.places:
            town_dir.close()
        shutil.rmtree(self.home)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def network(town_dir, start_kernel) -> Iterator[Network]:
    made = Network(start_kernel, town_dir)
    try:
        yield made
    finally:
        start_kernel.close()  # while there is a server to say goodbye to
        made.close()


@asynccontextmanager
async def open_gate(network: Network) -> AsyncGenerator[Gate]:
    """A way to the server that can be shut."""
    gate = Gate(network.home / "gate", network.socket)
    async with trio.open_nursery() as nursery:
        await nursery.start(gate.serve)
        yield gate
        gate.open_again()
        nursery.cancel_scope.cancel()


async def hosts_of(town: Any) -> dict[str, str | None]:
    return {agent.name: agent.host for agent in await town.agents()}


async def all_hosted(town: Any, *, not_by: str | None = None) -> dict[str, str]:
    """Who hosts whom, once somebody hosts each, and the host `not_by` nobody."""
    found: dict[str, str] = await town.wait_until(
        lambda: hosts_of(town), lambda now: None not in now.values() and not_by not in now.values()
    )
    return found


async def roots(town: Any) -> dict[str, str]:
    """Host id -> the directory it runs in."""
    return {host.id: host.root for host in await town.run(town.operations.hosts())}


async def ended(town_dir: Any, kernel: Any) -> None:
    """Wait until nothing runs in the directory but its kernel."""
    while town_dir.processes() != [kernel.pid]:  # noqa: ASYNC110 - other processes end
        await trio.sleep(0.01)


@pytest.mark.faults
@pytest.mark.deadline_s(60)
@pytest.mark.parametrize("fate", ["killed", "frozen", "refused", "silent"])
async def test_a_host_that_dies_or_is_cut_off_is_replaced_within_a_lease_and_cannot_act_when_it_is_back(
    network, fate, wait_for_file
) -> None:
    async with open_gate(network) as gate:
        first, second = network.checkout(f"unix://{gate.path}"), network.checkout()
        lost = await network.start(first)
        async with second.connect() as town:
            agents = [await town.spawn(f"a{number}") for number in range(4)]
            before = set((await all_hosted(town)).values())
            (old,) = before
            task = await agents[0].assign(HELD)
            await wait_for_file(first.root / "runs", "\n")
            await network.start(second)
            await town.wait_until(lambda: roots(town), lambda now: len(now) == 2)
            match fate:
                case "killed":
                    lost.kill()
                case "frozen":
                    lost.signal(signal.SIGSTOP)
                case _:
                    gate.shut(fate)
            with trio.fail_after(LEASE_S + SLACK_S):
                await all_hosted(town, not_by=old)
            await wait_for_file(second.root / "runs", "\n")
            if fate in ("refused", "silent"):
                await ended(first, lost)  # while it is still cut off: its lease is over, and it knows
            match fate:
                case "killed":
                    await trio.to_thread.run_sync(lost.start)
                case "frozen":
                    lost.signal(signal.SIGCONT)
                case _:
                    gate.open_again()
            both = {str(first.root), str(second.root)}
            await town.wait_until(lambda: roots(town), lambda now: set(now.values()) == both)
            assert old not in await roots(town)
            await ended(first, lost)
            now = await town.task(task.id)
            assert (now.state, now.attempts) == ("running", 1)
            (second.root / "go").touch()
            done = await town.wait_for_task(task.id)
            assert (done.result, done.attempts) == ("done", 1)
            reported = [
                event
                for event in await town.run(town.operations.events_after("0"))
                if event.type == "task_state_changed"
            ]
            assert [event.new for event in reported if event.task == task.id].count("completed") == 1
            # The host that came back does its share again.
            names = [f"b{number}" for number in range(8)]
            for name in names:
                await town.spawn(name)
            found = await all_hosted(town)
            assert {(await roots(town))[found[name]] for name in names} >= {str(first.root)}
            assert await trio.to_thread.run_sync(lost.stop) == 0  # while there is a way to the server


async def test_agents_go_where_their_backend_and_their_labels_are_and_say_what_is_missing(network) -> None:
    first = network.checkout(extra='[host]\nlabels = ["gpu"]\n[agent_clis.alpha]\ncommand = "echo alpha"\n')
    second = network.checkout(extra='[agent_clis.beta]\ncommand = "echo beta"\n')
    kernels = [await network.start(first), await network.start(second)]
    async with first.connect() as town:
        by_root = {root: host for host, root in (await roots(town)).items()}
        wishes = {
            "alf": ("alpha", [], first),
            "bet": ("beta", [], second),
            "gus": ("shell", ["gpu"], first),
            "hal": ("shell", [f"host={socket.gethostname()}"], None),
        }
        for name, (cli, labels, _) in wishes.items():
            await town.spawn(name, cli=cli, labels=labels)
        found = await all_hosted(town)
        assert all(found[name] == by_root[str(town_dir.root)] for name, (_, _, town_dir) in wishes.items() if town_dir)
        arm = await town.spawn("arm", labels=["arm"])
        await arm.wait_until(
            lambda now: now.reason == 'waiting for a kernel with the backend "shell", with the label "arm"'
        )
        assert await trio.to_thread.run_sync(kernels[0].stop) == 0
        gus = await town.agent("gus")
        await gus.wait_until(
            lambda now: now.reason == 'waiting for a kernel with the backend "shell", with the label "gpu"'
        )
        task = await gus.assign("echo here")
        await network.start(first)
        assert (await town.wait_for_task(task.id)).result == "here"


async def test_two_checkouts_share_one_town_through_a_server_on_the_network(network) -> None:
    url = f"redis://127.0.0.1:{network.port}/0"
    places = [network.checkout(url), network.checkout(url)]
    for town_dir in places:
        await network.start(town_dir)
    async with places[0].connect() as town:
        agents = [await town.spawn(f"a{number}") for number in range(6)]
        found = await all_hosted(town)
        assert sorted([*found.values()].count(host) for host in set(found.values())) == [3, 3]
        tasks = [await agent.assign("pwd") for agent in agents]
        by_host = await roots(town)
        for agent, task in zip(agents, tasks, strict=True):
            assert (await town.wait_for_task(task.id)).result == by_host[found[agent.name]]
    for town_dir in places:
        reported = await ask(town_dir, "hosts", "--json")
        assert {host["root"] for host in reported["hosts"]} == {str(each.root) for each in places}
        assert [host["root"] for host in reported["hosts"] if host["here"]] == [str(town_dir.root)]
        assert all(0 < host["lease_left_s"] <= LEASE_S for host in reported["hosts"])
        assert sorted(host["agents"] for host in reported["hosts"]) == [3, 3]


@dataclass(frozen=True)
class Machine:
    """A network of its own on this machine, joined to it by a cable. Nothing leaves this machine."""

    name: str
    near: str = "10.213.77.1"
    far: str = "10.213.77.2"

    @property
    def within(self) -> list[str]:
        return ["ip", "netns", "exec", self.name]

    def plug(self) -> None:
        cable = f"{self.name}a"
        ip("netns", "add", self.name)
        ip("link", "add", cable, "type", "veth", "peer", "name", f"{self.name}b", "netns", self.name)
        ip("addr", "add", f"{self.near}/30", "dev", cable)
        ip("-n", self.name, "addr", "add", f"{self.far}/30", "dev", f"{self.name}b")
        ip("link", "set", cable, "up")
        ip("-n", self.name, "link", "set", f"{self.name}b", "up")

    def cut(self) -> None:
        ip("link", "set", f"{self.name}a", "down")

    def repair(self) -> None:
        ip("link", "set", f"{self.name}a", "up")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine(f"tt{os.getpid()}")
    try:
        made.plug()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no network namespaces here: they need root, and ip")
    else:
        yield made
    finally:
        subprocess.run(["ip", "netns", "delete", made.name], check=False, capture_output=True)


@pytest.mark.faults
@pytest.mark.deadline_s(60)
async def test_a_machine_whose_network_cable_is_pulled_is_replaced_and_ends_its_rounds_by_itself(
    machine, network, wait_for_file
) -> None:
    network.listen_on(machine.near)
    first, second = network.checkout(f"redis://{machine.near}:{network.port}/0"), network.checkout()
    far = await network.start(first, prefix=machine.within)
    async with second.connect() as town:
        ada = await town.spawn("ada")
        (old,) = (await all_hosted(town)).values()
        task = await ada.assign(HELD)
        await wait_for_file(first.root / "runs", "\n")
        await network.start(second)
        machine.cut()
        with trio.fail_after(LEASE_S + SLACK_S):
            await all_hosted(town, not_by=old)
        await ended(first, far)
        (second.root / "go").touch()
        done = await town.wait_for_task(task.id)
        assert (done.result, done.attempts) == ("done", 1)
        machine.repair()
        both = {str(first.root), str(second.root)}
        await town.wait_until(lambda: roots(town), lambda now: set(now.values()) == both)
        assert old not in await roots(town)


async def ask(town_dir: Any, *words: str) -> Any:
    """What a command says when it is typed in the directory."""
    command = [sys.executable, "-m", "tinytown", *words]
    environment = {**os.environ, "TINYTOWN_HOME": "/nonexistent"}
    done = await trio.run_process(command, cwd=town_dir.root, env=environment, capture_stdout=True)
    return json.loads(done.stdout)
