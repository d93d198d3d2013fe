"""The process that runs a town on one machine: hosts agents, services and sinks under one nursery.

Joins the town as a host, takes up agents whose backend is here, renews its lease, sweeps up after hosts that died, and
leaves in good order. What an agent does is `hosting` and `rounds`; what the dead leave is given back on the server.

Closing order, the reverse of opening: placement stops, agents end their rounds (drained, then hurried), the host leaves
the town, sinks get the last events, services end, the keeper ends what is left, the lock goes, the connection closes.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import trio

from tinytown import __version__
from tinytown.concurrency import AsyncValue, open_background, without_cancellations
from tinytown.config import Config, find_town, load_config, prepare_runtime_directory
from tinytown.contracts import Service
from tinytown.errors import NotFound, ProtocolViolation, Refused, ServerUnreachable, StaleLease, TinytownError
from tinytown.kernel.agent_worker import AgentWorker
from tinytown.kernel.context import KernelContext, accounts_by_kind
from tinytown.kernel.event_dispatcher import feed_sinks, flush_sinks
from tinytown.kernel.lock import is_running, kernel_lock
from tinytown.kernel.recovery import machine_id, run_directory, sweep, tidy, watch_directory
from tinytown.model.agents import Agent
from tinytown.model.events import (
    AccountParked,
    AccountUnparked,
    AgentDesiredStateChanged,
    AgentSpawned,
    BudgetsChanged,
    Event,
    HostLeft,
    RoundEnded,
    TaskStateChanged,
    TaskUpdated,
    TownFrozen,
    TownThawed,
)
from tinytown.model.ids import new_id
from tinytown.model.results import Placement, Status
from tinytown.model.tasks import Task
from tinytown.plugin import Plugins, load_plugins
from tinytown.process.supervisor import ProcessSupervisor, open_process_supervisor
from tinytown.protocol.operation import Operation
from tinytown.town import Town, connect_town

_log = logging.getLogger("tinytown.kernel")

_PLACED_AT_ONCE = 500
_ROUTED_AT_ONCE = 500
_LEAVE_BOUND_S = 5.0
_LAST_WORD_S = 0.5
_COMPLAIN_EVERY_S = 60.0
_FIRST_RETRY_S = 0.5
_LONGEST_RETRY_S = 60.0
_STOPPED = "its kernel was stopped"


class Kernel:
    """One run of a kernel. Made by `open_kernel`."""

    def __init__(self, town: Town, plugins: Plugins, keeper: ProcessSupervisor) -> None:
        self.town = town
        self.plugins = plugins
        self.keeper = keeper
        self.host_id = new_id()
        self._desk = KernelContext(town, plugins, keeper)
        self._accounts = accounts_by_kind(town.config, plugins)
        self._hosted: dict[str, AgentWorker] = {}
        self._count = AsyncValue(0)
        self._wake = trio.Event()
        self._freeze_news = trio.Event()
        self._unrouted: set[str] = set()
        self._all_unrouted = True
        self._something_to_route = trio.Event()
        self._feeding = trio.CancelScope()
        self._fed = trio.Event()
        self._fed.set()
        self._closing = False
        self._unanswered: Operation[Placement] | None = None
        self._complained: dict[str, float] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part in the town until cancelled; started once the town's agents are being taken up.

        When the lease is lost (the machine slept, the network was cut), everything that hung on it is ended, and the
        kernel joins again as a new host.
        """
        await self._set_up()
        await self.town.listen({self.town.operations.keys.placement_channel: lambda _: self._wake.set()})
        with self.town.hearing(self._hear):
            async with trio.open_nursery() as nursery:
                for service in self.plugins.services:
                    nursery.start_soon(self._serve, service)
                nursery.start_soon(tidy, self.town, self.town.config)
                while True:
                    self._freeze((await self._join()).frozen is not None)
                    async with trio.open_nursery() as incarnation:
                        incarnation.start_soon(self._place_agents, incarnation)
                        incarnation.start_soon(self._route_backlog)
                        incarnation.start_soon(self._follow_freezes)
                        incarnation.start_soon(self._feed_sinks)
                        task_status.started()
                        task_status = trio.TASK_STATUS_IGNORED
                        await self._beat_until_lost()
                        _log.warning("the lease of this kernel was lost; it joins the town again as a new host")
                        incarnation.cancel_scope.cancel()
                    self.host_id, self._unanswered = new_id(), None

    async def close(self) -> None:
        """End all rounds, within `drain_s` or interrupted, and leave the town. Called once, by `open_kernel`."""
        self._closing = True
        for hosted in self._hosted.values():
            hosted.leave(_STOPPED)
        with trio.move_on_after(_LAST_WORD_S), suppress(TinytownError):  # so that others do not leave agents to us
            await self.town.run(self.town.operations.heartbeat(self.host_id, lease_ms=self._lease_ms, capacity=0))
        with trio.move_on_after(0 if self.keeper.clock.stopped else self.town.config.drain_s):
            await self._count.wait_value(lambda count: count == 0)
        self.hurry()
        # Without a server there is nobody to tell; the lease runs out by itself.
        bound_s = _LEAVE_BOUND_S if self.town.link.connected else _LAST_WORD_S
        with trio.move_on_after(self.town.config.round.grace_s + bound_s):
            await self._count.wait_value(lambda count: count == 0)
        with trio.move_on_after(bound_s):
            try:
                await self.town.run(self.town.operations.deregister_host(self.host_id, reason=_STOPPED))
                self._feeding.cancel()
                await self._fed.wait()
                await flush_sinks(self.town, self.plugins, self.host_id)
            except (ServerUnreachable, ProtocolViolation) as error:
                self._complain(error)  # the lease runs out by itself

    def hurry(self) -> None:
        """End the rounds in progress; their mail goes back untouched."""
        for hosted in self._hosted.values():
            hosted.hurry(_STOPPED)

    # -- the host's lease

    @property
    def _lease_ms(self) -> int:
        return int(self.town.config.lease_s * 1000)

    async def _set_up(self) -> None:
        await self.town.run(
            self.town.operations.setup({**self.town.config.server_settings, "gates": len(self.plugins.gates)})
        )
        await self.town.run(self.town.operations.set_budgets(self.town.config.budgets.server_numbers))

    async def _join(self) -> Status:
        about = {
            "name": machine_id().partition("/")[0],
            "machine": machine_id(),
            "root": str(self.town.root),
            "pid": str(os.getpid()),
            "version": __version__,
            "capacity": str(self.town.config.capacity),
            "backends": " ".join(sorted(self.plugins.backends)),
            "labels": " ".join(sorted({f"host={machine_id().partition('/')[0]}", *self.town.config.host.labels})),
        }
        while True:
            try:
                status = await self._look_for_data()
                await self.town.run(
                    self.town.operations.register_host(self.host_id, lease_ms=self._lease_ms, details=about)
                )
            except (ServerUnreachable, ProtocolViolation) as error:
                await self._wait_after(error)
            else:
                return status

    async def _look_for_data(self) -> Status:
        """Somebody may have emptied the server: then this is a new town, and whoever looks should be told."""
        status = await self.town.run(self.town.operations.status(agents=False))
        if not status.schema:
            text = "the town's data is gone from the server: agents, tasks and mail must be made anew"
            _log.error(text)
            await self._set_up()
            await self.town.run(self.town.operations.emit("town_emptied", {"text": text}))
        return status

    async def _beat_until_lost(self) -> None:
        while True:
            await trio.sleep(self.town.config.lease_s / 3)
            try:
                ready = await self.town.run(self.town.operations.heartbeat(self.host_id, lease_ms=self._lease_ms))
            except StaleLease:
                return
            except (ServerUnreachable, ProtocolViolation) as error:
                self._complain(error)
                continue
            for agent_id in ready:
                if hosted := self._hosted.get(agent_id):
                    hosted.ring("mail")
            self._wake.set()

    def _complain(self, error: TinytownError) -> None:
        """Say it once a minute, not at every beat."""
        now = trio.current_time()
        self._complained = {text: at for text, at in self._complained.items() if now - at < _COMPLAIN_EVERY_S}
        if error.message not in self._complained:
            self._complained[error.message] = now
            _log.error("%s", error)

    async def _wait_after(self, error: TinytownError) -> None:
        self._complain(error)
        await trio.sleep(self.town.config.lease_s / 3)

    # -- standing still

    def _freeze(self, frozen: bool) -> None:
        """Let everything stand still, or go on."""
        if frozen and not self.keeper.clock.stopped:
            self.keeper.pause_all()
        elif not frozen and self.keeper.clock.stopped:
            self.keeper.continue_all()
            for hosted in self._hosted.values():
                hosted.look()

    async def _follow_freezes(self) -> None:
        """What an event has made of us at once is held against the town's record, and told."""
        told: int | None = None
        while True:
            self._freeze_news = trio.Event()
            try:
                self._freeze((await self.town.run(self.town.operations.status(agents=False))).frozen is not None)
                frozen = self.keeper.running if self.keeper.clock.stopped else None
                if frozen != told:
                    await self.town.run(self.town.operations.report_frozen(self.host_id, frozen))
                    told = frozen
            except StaleLease:
                return  # the beat finds out too
            except (ServerUnreachable, ProtocolViolation) as error:
                await self._wait_after(error)
                continue
            await self._freeze_news.wait()

    # -- agents

    async def _place_agents(self, nursery: trio.Nursery) -> None:
        """Take up agents that want a host, whenever somebody rings; starts one task for each in `nursery`."""
        while not self._closing:
            self._wake = trio.Event()
            room = self.town.config.capacity - len(self._hosted)
            placed, due_s = list[AgentWorker](), float("inf")
            try:
                if room > 0:
                    placed, due_s = await self._take(min(room, _PLACED_AT_ONCE))
            except (ServerUnreachable, ProtocolViolation) as error:
                await self._wait_after(error)
                continue
            except StaleLease:
                return  # the beat finds out too, and the kernel joins again
            try:
                await self._listen(placed)
            except BaseException:  # cancelled: nobody lives for them, so nobody would take them off the list
                self._strike_off(placed)
                raise
            for hosted in placed:
                nursery.start_soon(self._host, hosted)
            if len(placed) < _PLACED_AT_ONCE:
                with trio.move_on_after(due_s):
                    await self._wake.wait()

    async def _take(self, count: int) -> tuple[list[AgentWorker], float]:
        """At most `count` agents, which are ours now, and in how many seconds another wants a host."""
        # Unanswered, the same call is made again: a new one would leave the agents that the first one took to nobody.
        call, self._unanswered = self._unanswered, None
        call = call or self.town.operations.place_agents(
            self.host_id, sorted(self.plugins.backends), count=count, accounts=self._accounts
        )
        try:
            taken = await self.town.run(call)
        except ServerUnreachable:
            self._unanswered = call
            raise
        placed = [AgentWorker(self._desk, agent) for agent in taken.agents]
        for hosted in placed:
            self._hosted[hosted.agent.id] = hosted
        self._count.value = len(self._hosted)
        return placed, taken.due_s

    async def _listen(self, placed: list[AgentWorker]) -> None:
        """Hear the bells of agents. They are ours now, so this is tried until it works."""
        bells = {self.town.operations.keys.agent_channel(hosted.agent.id): hosted.ring for hosted in placed}
        while bells:
            try:
                await self.town.listen(bells)
            except (ServerUnreachable, ProtocolViolation) as error:
                await self._wait_after(error)
            else:
                return

    async def _host(self, hosted: AgentWorker) -> None:
        agent_id = hosted.agent.id
        if self._closing:  # it was placed while the others were told
            hosted.leave(_STOPPED)
        try:
            await hosted.live()
        finally:
            self._strike_off([hosted])
            self._wake.set()  # there is room for another
            if agent_id not in self._hosted and not self._closing:
                with (
                    trio.CancelScope(shield=True, deadline=trio.current_time() + _LEAVE_BOUND_S),
                    suppress(TinytownError),
                ):
                    await self.town.unlisten(self.town.operations.keys.agent_channel(agent_id))

    def _strike_off(self, gone: list[AgentWorker]) -> None:
        for hosted in gone:
            if self._hosted.get(hosted.agent.id) is hosted:
                del self._hosted[hosted.agent.id]
        self._count.value = len(self._hosted)

    # -- the backlog

    def _hear(self, event: Event) -> None:
        """What may bring a task of the backlog together with an agent, and what holds agents or lets them go on."""
        if isinstance(event, TownFrozen | TownThawed):
            self._freeze(isinstance(event, TownFrozen))
            self._freeze_news.set()
        elif isinstance(event, AccountParked | AccountUnparked):
            self._let_look(each.agent.id for each in self._hosted.values() if each.agent.account == event.account)
        elif isinstance(event, BudgetsChanged):
            self._let_look(self._hosted)
        elif isinstance(event, RoundEnded | HostLeft):  # what was reserved may be free again
            self._let_look(self._desk.held)
        elif isinstance(event, TaskUpdated) or (isinstance(event, TaskStateChanged) and event.new == "pending"):
            self._unrouted.add(event.task)
            self._something_to_route.set()
        elif (
            isinstance(event, AgentSpawned)
            or (isinstance(event, AgentDesiredStateChanged) and event.desired_state == "running")
            or event.type == "town_restored"
        ):
            self._all_unrouted = True
            self._something_to_route.set()

    def _let_look(self, agent_ids: Iterable[str]) -> None:
        for agent_id in agent_ids:
            if hosted := self._hosted.get(agent_id):
                hosted.look()

    async def _route_backlog(self) -> None:
        """Find somebody for tasks that nobody has: whom a plugin chooses, else idle agents here whose words fit."""
        self._all_unrouted = True
        while True:
            self._something_to_route = trio.Event()
            try:
                for task in await self._tasks_to_route():
                    with suppress(NotFound, Refused):  # somebody has it, or the chosen one has gone, meanwhile
                        await self._route(task, await self.town.agents())
            except (ServerUnreachable, ProtocolViolation) as error:
                self._all_unrouted = True
                await self._wait_after(error)
                continue
            await self._something_to_route.wait()

    async def _tasks_to_route(self) -> Sequence[Task]:
        everything, ids = self._all_unrouted, sorted(self._unrouted)
        self._all_unrouted = False
        self._unrouted.clear()
        if everything:
            return await self.town.tasks(state="backlog", limit=_ROUTED_AT_ONCE)
        found: list[Task] = []
        for task_id in ids:
            with suppress(NotFound):
                found.append(await self.town.task(task_id))
        return [task for task in found if task.state == "pending"]

    async def _route(self, task: Task, agents: Sequence[Agent]) -> None:
        candidates = [agent for agent in agents if agent.desired_state == "running"]
        chosen = self.plugins.choose_agent(task, candidates)
        await self._desk.tell_faults()
        if chosen is not None:
            await self.town.run(self.town.operations.claim_from_backlog(task.id, chosen))
        elif self.town.config.auto_claim:
            for hosted in self._hosted.values():
                if not hosted.working and hosted.words & {task.role, *task.tags}:
                    hosted.ring("mail")

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
            error: Exception = RuntimeError("it ended")
            try:
                with without_cancellations():
                    await service.run(self.town)
            except Exception as raised:  # a stranger's service may raise anything; the town goes on
                error = raised
            failures = 1 if trio.current_time() - began > _LONGEST_RETRY_S else failures + 1
            delay_s = min(_FIRST_RETRY_S * 2 ** min(failures, 16), _LONGEST_RETRY_S)
            await self._desk.report_fault(
                service, f"service {service.name}", error, so=f"started again in {delay_s:.0f} s"
            )
            await trio.sleep(delay_s)


@asynccontextmanager
async def open_kernel(town: Town, plugins: Plugins) -> AsyncGenerator[Kernel]:
    """Run a kernel for a connected town for as long as the block lasts. Raises: Refused when one runs here already."""
    (prepare_runtime_directory(town.root) / "logs").mkdir(mode=0o700, exist_ok=True)
    with kernel_lock(town.root) as is_ours:
        await sweep(town, root=town.root)
        async with open_process_supervisor(run_dir=run_directory(town.root)) as keeper, open_background() as nursery:
            kernel = Kernel(town, plugins, keeper)
            try:
                await nursery.start(kernel.run)
                nursery.start_soon(watch_directory, town, is_ours)
                yield kernel
            finally:
                bound_s = town.config.drain_s + town.config.round.grace_s + 3 * _LEAVE_BOUND_S
                with trio.CancelScope(shield=True, deadline=trio.current_time() + bound_s):
                    await kernel.close()


@asynccontextmanager
async def open_town(root: Path | str | None = None, *, kernel: bool | None = None) -> AsyncGenerator[Town]:
    """The town at `root` (default: the one that the current directory lies in), connected and running.

    With `kernel` True its kernel runs inside this block, and one that runs already is an error; with False none is
    started; by default one is started unless one runs already.
    Raises: NotFound without a town, or when the one that its kernel runs in this block is deleted (code ``town_gone``);
    ConfigError, ServerUnreachable, PluginError, Refused.
    """
    where = find_town(Path(root) if root is not None else None)
    config = load_config(where)
    wanted = kernel if kernel is not None else not is_running(where)
    plugins = load_plugins(config, where) if wanted else None
    async with connect_town(where, config) as town, AsyncExitStack() as stack:
        if plugins is not None:
            try:
                await stack.enter_async_context(open_kernel(town, plugins))
            except Refused as error:
                if kernel or error.code != "kernel_running":
                    raise  # else somebody was quicker by a moment
        yield town


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
