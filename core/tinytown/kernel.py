"""The process that runs a town on one machine: hosts agents, services and sinks under one nursery.

Joins the town as a host, takes up agents whose backend is here, renews its lease, sweeps up after hosts that died, and
leaves in good order. What an agent does is `hosting` and `rounds`; what the dead leave is given back on the server.

Closing order, the reverse of opening: placement stops, agents end their rounds (drained, then hurried), the host leaves
the town, sinks get the last events, services end, the keeper ends what is left, the lock goes, the connection closes.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import trio
from trio_util import AsyncValue

from tinytown import __version__
from tinytown.agents import Agent
from tinytown.background import open_background
from tinytown.config import RUNTIME_DIRECTORY, Config, find_town, load_config
from tinytown.contracts import Service
from tinytown.errors import Refused, ServerUnreachable, StaleLease, TinytownError
from tinytown.hosting import HostedAgent
from tinytown.names import new_id, shown
from tinytown.noticeboard import feed_sinks, flush_sinks
from tinytown.plugin_registry import Plugins, load_plugins
from tinytown.processes import Keeper, open_keeper
from tinytown.recovery import machine_id, run_directory, sweep, tidy
from tinytown.rounds import Desk
from tinytown.town import Town, connect_town

_PLACED_AT_ONCE = 500
_LEAVE_BOUND_S = 5.0
_FIRST_RETRY_S = 0.5
_LONGEST_RETRY_S = 60.0


class Kernel:
    """One run of a kernel. Made by `open_kernel`."""

    def __init__(self, town: Town, plugins: Plugins, keeper: Keeper) -> None:
        self.town = town
        self.plugins = plugins
        self.keeper = keeper
        self.host_id = new_id()
        self._desk = Desk(town, plugins, keeper)
        self._hosted: dict[str, HostedAgent] = {}
        self._count = AsyncValue(0)
        self._wake = trio.Event()
        self._feeding = trio.CancelScope()
        self._fed = trio.Event()
        self._closing = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part in the town until cancelled; started once the town's agents are being taken up.

        When the lease is lost (the machine slept, the network was cut), everything that hung on it is ended, and the
        kernel joins again as a new host.
        """
        await self.town.run(self.town.calls.setup({"gates": len(self.plugins.gates)}))
        await self.town.listen({self.town.calls.keys.bell: lambda _: self._wake.set()})
        async with trio.open_nursery() as nursery:
            for service in self.plugins.services:
                nursery.start_soon(self._serve, service)
            nursery.start_soon(tidy, self.town, self.town.config)
            while True:
                await self._join()
                async with trio.open_nursery() as incarnation:
                    incarnation.start_soon(self._place_agents, incarnation)
                    incarnation.start_soon(self._feed_sinks)
                    task_status.started()
                    task_status = trio.TASK_STATUS_IGNORED
                    await self._beat_until_lost()
                    incarnation.cancel_scope.cancel()
                self.host_id = new_id()

    async def close(self) -> None:
        """End all rounds, within `drain_s` or interrupted, and leave the town. Called once, by `open_kernel`."""
        self._closing = True
        for hosted in self._hosted.values():
            hosted.leave("its kernel was stopped")
        with trio.move_on_after(self.town.config.drain_s):
            await self._count.wait_value(0)
        self.hurry()
        with trio.move_on_after(self.town.config.round.grace_s + _LEAVE_BOUND_S):
            await self._count.wait_value(0)
        with trio.move_on_after(_LEAVE_BOUND_S):
            try:
                await self.town.run(self.town.calls.leave(self.host_id, reason="its kernel was stopped"))
                self._feeding.cancel()
                await self._fed.wait()
                await flush_sinks(self.town, self.plugins, self.host_id)
            except ServerUnreachable:
                return  # the lease runs out by itself

    def hurry(self) -> None:
        """End the rounds in progress; their mail goes back untouched."""
        for hosted in self._hosted.values():
            hosted.hurry("its kernel was stopped")

    # -- the host's lease

    @property
    def _lease_ms(self) -> int:
        return int(self.town.config.lease_s * 1000)

    async def _join(self) -> None:
        about = {
            "name": machine_id().partition("/")[0],
            "machine": machine_id(),
            "root": str(self.town.root),
            "pid": str(os.getpid()),
            "version": __version__,
            "capacity": str(self.town.config.capacity),
            "backends": " ".join(sorted(self.plugins.backends)),
        }
        while True:
            try:
                await self.town.run(self.town.calls.join(self.host_id, lease_ms=self._lease_ms, about=about))
            except ServerUnreachable:
                await trio.sleep(self.town.config.lease_s / 3)
            else:
                return

    async def _beat_until_lost(self) -> None:
        while True:
            await trio.sleep(self.town.config.lease_s / 3)
            try:
                ready = await self.town.run(self.town.calls.beat(self.host_id, lease_ms=self._lease_ms))
            except StaleLease:
                return
            except ServerUnreachable:
                continue
            for agent_id in ready:
                if hosted := self._hosted.get(agent_id):
                    hosted.ring("mail")
            self._wake.set()

    # -- agents

    async def _place_agents(self, nursery: trio.Nursery) -> None:
        """Take up agents that want a host, whenever somebody rings; starts one task for each in `nursery`."""
        while not self._closing:
            self._wake = trio.Event()
            room = self.town.config.capacity - len(self._hosted)
            try:
                placed = await self._take(min(room, _PLACED_AT_ONCE)) if room > 0 else ()
            except ServerUnreachable:
                await trio.sleep(self.town.config.lease_s / 3)
                continue
            except StaleLease:
                return  # the beat finds out too, and the kernel joins again
            for agent in placed:
                nursery.start_soon(self._host, self._hosted[agent.id])
            if len(placed) < _PLACED_AT_ONCE:
                await self._wake.wait()

    async def _take(self, count: int) -> tuple[Agent, ...]:
        call = self.town.calls.place_agents(self.host_id, sorted(self.plugins.backends), count=count)
        placed = await self.town.run(call)
        if placed:
            for agent in placed:
                self._hosted[agent.id] = HostedAgent(self._desk, agent)
            self._count.value = len(self._hosted)
            bells = {self.town.calls.keys.agent_bell(agent.id): self._hosted[agent.id].ring for agent in placed}
            await self.town.listen(bells)
        return placed

    async def _host(self, hosted: HostedAgent) -> None:
        try:
            await hosted.live()
        finally:
            if self._hosted.get(hosted.agent.id) is hosted:
                del self._hosted[hosted.agent.id]
            self._count.value = len(self._hosted)
        if hosted.agent.id not in self._hosted:
            try:
                await self.town.unlisten(self.town.calls.keys.agent_bell(hosted.agent.id))
            except ServerUnreachable:
                return

    # -- sinks and services

    async def _feed_sinks(self) -> None:
        self._feeding, self._fed = trio.CancelScope(), trio.Event()
        try:
            with self._feeding:
                await feed_sinks(self.town, self.plugins, self.host_id)
        finally:
            self._fed.set()

    async def _serve(self, service: Service) -> None:
        """One service, for ever: started again with growing delays when it ends or raises."""
        failures = 0
        while True:
            began = trio.current_time()
            try:
                await service.run(self.town)
                text = "the service ended"
            except Exception as error:  # a stranger's service may raise anything; the town goes on
                self.plugins.mark_faulty(service.name, "run", error)
                text = f"the service raised {shown(repr(error), 300)}"
            failures = 1 if trio.current_time() - began > _LONGEST_RETRY_S else failures + 1
            delay_s = min(_FIRST_RETRY_S * 2**failures, _LONGEST_RETRY_S)
            members = {"plugin": service.name, "text": f"{text}; started again in {delay_s:.0f} s"}
            with suppress(TinytownError):
                await self.town.run(self.town.calls.emit("plugin_reported", members))
            await trio.sleep(delay_s)


@contextmanager
def kernel_lock(root: Path) -> Iterator[None]:
    """Holds the town's directory for one kernel. Raises: Refused with the pid of the one that has it."""
    path = root / RUNTIME_DIRECTORY / "kernel.lock"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            raise Refused(
                f"a kernel runs this town already (pid {pid})",
                hint="tt status looks at it, tt stop ends it",
                code="kernel_running",
                pid=pid,
            ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(fd, 0)
    finally:
        os.close(fd)


@asynccontextmanager
async def open_kernel(town: Town, plugins: Plugins) -> AsyncIterator[Kernel]:
    """Run a kernel for a connected town for as long as the block lasts. Raises: Refused when one runs here already."""
    (town.root / RUNTIME_DIRECTORY / "logs").mkdir(mode=0o700, parents=True, exist_ok=True)
    with kernel_lock(town.root):
        await sweep(town, root=town.root)
        async with open_keeper(run_dir=run_directory(town.root)) as keeper, open_background() as nursery:
            kernel = Kernel(town, plugins, keeper)
            await nursery.start(kernel.run)
            try:
                yield kernel
            finally:
                bound_s = town.config.drain_s + town.config.round.grace_s + 3 * _LEAVE_BOUND_S
                with trio.CancelScope(shield=True, deadline=trio.current_time() + bound_s):
                    await kernel.close()


@asynccontextmanager
async def open_town(root: Path | str | None = None, *, kernel: bool | None = None) -> AsyncIterator[Town]:
    """The town at `root` (default: the one that the current directory lies in), connected and running.

    With `kernel` True its kernel runs inside this block, and one that runs already is an error; with False none is
    started; by default one is started unless one runs already.
    Raises: NotFound without a town, ConfigError, ServerUnreachable, PluginError, Refused.
    """
    where = find_town(Path(root) if root is not None else None)
    config = load_config(where)
    plugins = load_plugins(config, where) if kernel is not False else None
    async with connect_town(where, config) as town:
        if plugins is None or (kernel is None and is_running(where)):
            yield town
        else:
            async with open_kernel(town, plugins):
                yield town


def is_running(root: Path) -> bool:
    """Whether a kernel of this machine holds the town's directory."""
    try:
        with kernel_lock(root):
            return False
    except Refused:
        return True


def run_kernel(root: Path, *, ready_fd: int | None = None, quiet: bool = False) -> None:
    """Run the kernel of the town at `root` until SIGTERM or SIGINT; a second signal hurries its end.

    To `ready_fd` goes ``1`` and a newline once it runs, or nothing if it does not get that far.
    Raises: what `open_town` raises.
    """
    for name in [
        name for name in os.environ if name.startswith(("TINYTOWN_AGENT_", "TINYTOWN_TASK_", "TINYTOWN_RUN_"))
    ]:
        del os.environ[name]
    config = load_config(root)
    plugins = load_plugins(config, root)
    trio.run(_serve, root, config, plugins, ready_fd, quiet)


async def _serve(root: Path, config: Config, plugins: Plugins, ready_fd: int | None, quiet: bool) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with (
            connect_town(root, config) as town,
            open_background() as nursery,
            open_kernel(town, plugins) as kernel,
        ):
            if ready_fd is not None:
                os.write(ready_fd, b"1\n")
                os.close(ready_fd)
            if not quiet:
                print(
                    f"town {town.name}: kernel {os.getpid()} is running; Ctrl-C stops it", file=sys.stderr, flush=True
                )
            await anext(aiter(signals))
            nursery.start_soon(_hurry, kernel, signals)


async def _hurry(kernel: Kernel, signals: AsyncIterator[int]) -> None:
    async for _ in signals:
        kernel.hurry()


__all__ = ["Kernel", "is_running", "kernel_lock", "open_kernel", "open_town", "run_kernel"]
