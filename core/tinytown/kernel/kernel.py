"""The process that runs a town on one machine: registers as a host, renews its lease, runs services, closes in order.

Closing order, the reverse of opening: placement stops, agents end their rounds (drained, then hurried), the host
deregisters, services end, the reaper ends what is left, the lock is released, the connection closes.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import trio

from tinytown import __version__
from tinytown.concurrency import open_background
from tinytown.config import Config, load_config
from tinytown.contracts import Service
from tinytown.errors import PluginFaulty, ProtocolViolation, Refused, ServerUnreachable, StaleLease, TinytownError
from tinytown.identity import GIT_VARIABLES, ROUND_VARIABLES, TOWN_VARIABLE
from tinytown.kernel.backlog_router import BacklogRouter
from tinytown.kernel.context import KernelContext
from tinytown.kernel.host_limits import raise_open_files
from tinytown.kernel.leases import run_under_lease
from tinytown.kernel.lock import kernel_lock, running_kernel
from tinytown.kernel.placement import STOPPED, AgentPlacement
from tinytown.kernel.recovery import machine_id, run_directory, sweep, watch_directory
from tinytown.kernel.workspaces import WorkspaceSettler
from tinytown.model import events
from tinytown.model.ids import new_id
from tinytown.model.results import Status
from tinytown.plugin import Plugins, load_plugins
from tinytown.process import ProcessSupervisor, open_process_supervisor
from tinytown.process.reaper import boot_time
from tinytown.state import find_town, open_state
from tinytown.town import Town, connect_town

_log = logging.getLogger("tinytown.kernel")

_LEAVE_BOUND_S = 5.0
_LAST_CALL_S = 0.5
_FIRST_RETRY_S = 0.5
_LONGEST_RETRY_S = 60.0


class Kernel:
    """One run of a kernel. Made by `open_kernel`."""

    def __init__(self, town: Town, plugins: Plugins, processes: ProcessSupervisor) -> None:
        self.town = town
        self.plugins = plugins
        self.processes = processes
        self._context = KernelContext(town, plugins, processes, host_id=new_id())
        self.placement = AgentPlacement(self._context)
        self._router = BacklogRouter(self._context, self.placement)
        self._beat_now = trio.Event()
        self._settler = WorkspaceSettler(self._context)
        self._deregistered = False

    @property
    def host_id(self) -> str:
        """The id of this kernel's host; another one after the lease was lost."""
        return self._context.host_id

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part in the town until cancelled; started once the town's agents are being taken up.

        When the lease is lost (the machine slept, the network was cut), everything that depended on it is ended, and the
        kernel registers again as a new host.
        """
        await self._set_up()
        placement_channel = self.town.operations.keys.placement_channel
        await self.town.subscribe_channels({placement_channel: lambda _: self.placement.wake()})
        with self.town.subscribe(self._on_event):
            async with trio.open_nursery() as nursery:
                for service in self.plugins.services:
                    keep = partial(self._keep_running, service)
                    if service.scope == "town":
                        nursery.start_soon(run_under_lease, self._context, f"service.{service.name}", keep)
                    else:
                        nursery.start_soon(keep)
                nursery.start_soon(self._settler.run)
                while True:
                    self._freeze((await self._register()).frozen is not None)
                    async with trio.open_nursery() as incarnation:
                        incarnation.start_soon(self.placement.run, incarnation)
                        incarnation.start_soon(self._router.run)
                        task_status.started()
                        task_status = trio.TASK_STATUS_IGNORED
                        self._beat_now.set()
                        await self._heartbeat_until_lost()
                        if not self._context.closing.is_set():
                            _log.warning("the lease of this kernel was lost; it registers again as a new host")
                        incarnation.cancel_scope.cancel()
                    self._context.host_id = new_id()
                    self.placement.forget_call()

    async def close(self) -> None:
        """End all rounds, within `drain_s` or interrupted, and leave the town. Called once, by `open_kernel`."""
        self._context.closing_at = trio.current_time()
        self._context.closing.set()
        self.placement.close()
        with trio.move_on_after(_LAST_CALL_S), suppress(TinytownError):  # so that other hosts leave us no agents
            await self.town.run(self.town.operations.heartbeat(self.host_id, lease_ms=self._lease_ms, capacity=0))
        with trio.move_on_after(0 if self.processes.clock.paused else self.town.config.drain_s):
            await self.placement.wait_until_empty()
        self.hurry()
        bound_s = _LEAVE_BOUND_S if self.town.link.connected else _LAST_CALL_S
        with trio.move_on_after(self.town.config.round.grace_s + bound_s):
            await self.placement.wait_until_empty()
        with trio.move_on_after(bound_s):
            try:
                self._deregistered = True
                await self.town.run(self.town.operations.deregister_host(self.host_id, reason=STOPPED))
            except (ServerUnreachable, ProtocolViolation) as error:
                self._context.log_error(error)  # the lease runs out by itself

    def hurry(self) -> None:
        """End the rounds in progress; their mail goes back untouched."""
        self.placement.hurry()

    @property
    def _lease_ms(self) -> int:
        return int(self.town.config.lease_s * 1000)

    async def _set_up(self) -> None:
        config, operations = self.town.config, self.town.operations
        await self.town.run(operations.setup({**config.server_settings, "gates": len(self.plugins.gates)}))
        await self.town.run(operations.set_budgets(config.budgets.server_numbers))

    def _receive(self, text: str) -> None:
        self.placement.receive(text)
        if not text:  # connected again
            self._beat_now.set()

    async def _register(self) -> Status:
        host_name = machine_id().partition("/")[0]
        about = {
            "name": host_name,
            "machine": machine_id(),
            "root": str(self.town.root),
            "pid": str(os.getpid()),
            "version": __version__,
            "loaded_from": self.plugins.loaded_from,
            "capacity": str(self.town.config.capacity),
            "backends": " ".join(sorted(self.plugins.backends)),
            "labels": " ".join(sorted({f"host={host_name}", *self.town.config.host.labels})),
        }

        async def register() -> Status:
            if self._context.closing.is_set():  # it left, and does not join again
                await trio.sleep_forever()
            operations, status = self.town.operations, await self._check_data()
            await self.town.subscribe_channels({operations.keys.host_channel(self.host_id): self._receive})
            await self.town.run(operations.register_host(self.host_id, lease_ms=self._lease_ms, details=about))
            return status

        return await self._context.persist(register)

    async def _check_data(self) -> Status:
        """The status; if the server was emptied, the town is set up anew and the loss reported."""
        status = await self.town.run(self.town.operations.status(agents=False))
        if not status.schema:
            text = "the town's data is gone from the server: agents, tasks and mail must be created again"
            _log.error(text)
            await self._set_up()
            await self.town.run(self.town.operations.emit("town_emptied", {"text": text}))
        return status

    async def _heartbeat_until_lost(self) -> None:
        while True:
            with trio.move_on_after(self.town.config.lease_s / 3):
                await self._beat_now.wait()
            self._beat_now = trio.Event()
            began = boot_time()
            beat = self.town.operations.heartbeat(
                self.host_id,
                lease_ms=self._lease_ms,
                trouble=self._context.limits.trouble,
                frozen=self.processes.running if self.processes.clock.paused else None,
                boot_ms=int(began * 1000),
            )
            try:
                frozen, *unheard = await self.town.run(beat)
            except StaleLease:
                if not self._deregistered:
                    return
            except (ServerUnreachable, ProtocolViolation) as error:
                self._context.log_error(error)
            else:
                self.processes.keep_until(began + self.town.config.lease_s)
                self._freeze(frozen == "frozen")
                for text in unheard:
                    self.placement.receive(text)
                self.placement.wake()

    def _freeze(self, frozen: bool) -> None:
        """Pause every process and time limit, or continue them, and report it with a heartbeat."""
        if frozen == self.processes.clock.paused:
            return
        if frozen:
            self.processes.pause_all()
        else:
            self.processes.continue_all()
            self.placement.notify(self.placement.workers)
        self._beat_now.set()

    def _on_event(self, event: events.Event) -> None:
        """What holds agents back or releases them; what concerns the backlog goes to the router."""
        if isinstance(event, events.TownFrozen | events.TownThawed):
            self._freeze(isinstance(event, events.TownFrozen))
        elif isinstance(event, events.AccountParked | events.AccountUnparked):
            workers = self.placement.workers
            self.placement.notify([id_ for id_ in workers if workers[id_].agent.account == event.account])
        elif isinstance(event, events.BudgetsChanged):
            self.placement.notify(self.placement.workers)
        elif isinstance(event, events.RoundEnded | events.HostLeft):  # what was reserved may be free again
            self.placement.notify(self._context.held)
        self._router.on_event(event)
        self._settler.on_event(event)

    async def _keep_running(self, service: Service) -> None:
        """Run a service until cancelled; restart it with growing delays when it ends or raises."""
        failures = 0
        while True:
            began = trio.current_time()
            error: Exception | None = RuntimeError("it ended")
            try:
                with self._context.call(service):
                    await service.run(self.town)
            except PluginFaulty as raised:
                if raised.code == "plugin_suspended":
                    await trio.sleep_forever()
                error = raised
            except ServerUnreachable:  # which is no fault of the plugin's
                error = None
            except Exception as raised:  # it may raise anything; the town continues
                error = raised
            failures = 1 if trio.current_time() - began > _LONGEST_RETRY_S else failures + 1
            delay_s = min(_FIRST_RETRY_S * 2 ** min(failures, 16), _LONGEST_RETRY_S)
            if error:
                consequence = f"restarted in {delay_s:.0f} s"
                await self._context.report_fault(service, f"service {service.name}", error, consequence=consequence)
            await trio.sleep(delay_s)


@asynccontextmanager
async def open_kernel(town: Town, plugins: Plugins) -> AsyncGenerator[Kernel]:
    """Run a kernel for a connected town for as long as the block lasts. Raises: Refused when one runs here already."""
    (open_state(town.root) / "logs").mkdir(mode=0o700, exist_ok=True)
    with kernel_lock(town.root) as is_ours:
        await sweep(town, root=town.root)
        async with (
            open_process_supervisor(
                run_dir=run_directory(town.root), log_limit_bytes=town.config.limits.log_bytes
            ) as processes,
            open_background() as nursery,
        ):
            kernel = Kernel(town, plugins, processes)
            try:
                await nursery.start(kernel.run)
                nursery.start_soon(watch_directory, town, is_ours)
                yield kernel
            finally:
                bound_s = town.config.drain_s + town.config.round.grace_s + 3 * _LEAVE_BOUND_S
                with trio.CancelScope(shield=True, relative_deadline=bound_s):
                    await kernel.close()


@asynccontextmanager
async def open_town(root: Path | str | None = None, *, kernel: bool | None = None) -> AsyncGenerator[Town]:
    """The town at `root` (default: the one that the current directory is in), connected and running.

    With `kernel` True its kernel runs inside this block, and one that runs already is an error; with False none is
    started; by default one is started unless one runs already.
    Raises: NotFound without a town, or when the one that its kernel runs in this block is deleted (code ``town_gone``);
    ConfigError, ServerUnreachable, PluginError, Refused.
    """
    where = find_town(Path(root) if root is not None else None)
    config = load_config(where)
    starts = kernel if kernel is not None else running_kernel(where) is None
    plugins = load_plugins(config, where) if starts else None
    async with connect_town(where, config) as town, AsyncExitStack() as stack:
        if plugins is not None:
            try:
                await stack.enter_async_context(open_kernel(town, plugins))
            except Refused as error:
                if kernel or error.code != "kernel_running":
                    raise  # else another process started one meanwhile
        yield town


def run_kernel(root: Path, *, ready_fd: int | None = None, quiet: bool = False) -> bool:
    """Run the kernel of the town at `root` until SIGTERM or SIGINT; a second signal hurries its end.

    To `ready_fd` goes ``1`` and a newline once it runs, or nothing if it does not get that far. Returns whether SIGUSR1 has
    ended it: then a new process image is to run it again, with the plugins and settings of that moment.
    Raises: what `open_town` raises.
    """
    for name in {*ROUND_VARIABLES, *GIT_VARIABLES} - {TOWN_VARIABLE}:
        os.environ.pop(name, None)
    raise_open_files()
    config = load_config(root)
    plugins = load_plugins(config, root)
    return trio.run(_serve, root, config, plugins, ready_fd, quiet) == signal.SIGUSR1


async def _serve(root: Path, config: Config, plugins: Plugins, ready_fd: int | None, quiet: bool) -> int:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1) as signals:
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
            ended_by = await anext(aiter(signals))
            busy = [worker.agent.name for worker in kernel.placement.workers.values() if worker.working]
            if busy and not quiet:
                text = f"stopping: waiting up to {config.drain_s:g} s for the rounds of {', '.join(busy)}"
                print(f"{text}; Ctrl-C again interrupts them", file=sys.stderr, flush=True)
            nursery.start_soon(_hurry, kernel, signals)
    return ended_by


async def _hurry(kernel: Kernel, signals: AsyncIterator[int]) -> None:
    async for _ in signals:
        kernel.hurry()
