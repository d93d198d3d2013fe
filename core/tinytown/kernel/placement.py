"""Which agents this kernel hosts: it takes up those that wait for a host, and runs an `AgentWorker` for each."""

from __future__ import annotations

from collections.abc import Iterable

import trio

from tinytown.concurrency import AsyncValue
from tinytown.errors import ServerUnreachable, StaleLease
from tinytown.kernel.agent_worker import AgentWorker
from tinytown.kernel.context import KernelContext, accounts_by_kind
from tinytown.model.results import Placement
from tinytown.protocol.operation import Operation

STOPPED = "its kernel was stopped"
_PLACED_AT_ONCE = 500


class AgentPlacement:
    """The `workers` of a kernel by agent id, and the task that takes up agents."""

    def __init__(self, context: KernelContext) -> None:
        self.workers: dict[str, AgentWorker] = {}
        self._context = context
        self._town = context.town
        self._accounts = accounts_by_kind(context.town.config, context.plugins)
        self._count = AsyncValue(0)
        self._changed = trio.Event()
        self._unanswered: Operation[Placement] | None = None

    def wake(self) -> None:
        """Have `run` check at once whether an agent waits for a host."""
        self._changed.set()

    def receive(self, text: str) -> None:
        """Pass what was published for an agent of this host to its worker; empty: every worker checks for itself."""
        agent_id, _, what = text.partition(" ")
        for worker in [self.workers.get(agent_id)] if text else list(self.workers.values()):
            if worker is not None:
                worker.notify(what or "mail")

    def notify(self, agent_ids: Iterable[str]) -> None:
        """Have the workers of these agents check whether they may begin a round."""
        for agent_id in agent_ids:
            if worker := self.workers.get(agent_id):
                worker.wake()

    def forget_call(self) -> None:
        """The host has another id: a placement that was never answered is void."""
        self._unanswered = None

    async def run(self, nursery: trio.Nursery) -> None:
        """Take up agents that wait for a host, whenever something changes; starts one task for each in `nursery`."""
        while not self._context.closing.is_set():
            self._changed = trio.Event()
            try:
                placed, due_s = await self._context.persist(self._take)
            except StaleLease:
                return  # the heartbeat finds out too, and the kernel registers again
            for worker in placed:
                nursery.start_soon(self._host, worker)
            if len(placed) < _PLACED_AT_ONCE:
                with trio.move_on_after(due_s):
                    await self._changed.wait()

    def close(self) -> None:
        """Take up no more agents, and have each worker end after its round."""
        for worker in self.workers.values():
            worker.leave(STOPPED)

    def hurry(self) -> None:
        """End the rounds in progress; their mail goes back untouched."""
        for worker in self.workers.values():
            worker.hurry(STOPPED)

    async def wait_until_empty(self) -> None:
        """Wait until no worker is left."""
        await self._count.wait_value(lambda count: count == 0)

    async def _take(self) -> tuple[list[AgentWorker], float]:
        """Workers for agents whose leases are taken, as far as there is room, and in how many seconds another one is due."""
        count = min(self._town.config.capacity - len(self.workers), _PLACED_AT_ONCE)
        if count <= 0 or self._context.closing.is_set():
            return [], float("inf")
        # Unanswered, the same call is made again: a new one would leave the agents of the first one without a worker.
        call, self._unanswered = self._unanswered, None
        call = call or self._town.operations.place_agents(
            self._context.host_id, sorted(self._context.plugins.backends), count=count, accounts=self._accounts
        )
        try:
            taken = await self._town.run(call)
        except ServerUnreachable:
            self._unanswered = call
            raise
        placed = [AgentWorker(self._context, agent) for agent in taken.agents]
        for worker in placed:
            self.workers[worker.agent.id] = worker
        self._count.value = len(self.workers)
        return placed, taken.due_s

    async def _host(self, worker: AgentWorker) -> None:
        if self._context.closing.is_set():  # it was placed while the others were closed
            worker.leave(STOPPED)
        try:
            await worker.run()
        finally:
            if self.workers.get(worker.agent.id) is worker:
                del self.workers[worker.agent.id]
            self._count.value = len(self.workers)
            self.wake()  # there is room for another
