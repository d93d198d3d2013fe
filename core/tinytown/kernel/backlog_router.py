"""Who gets the tasks of the backlog: the agent that a plugin chooses, else idle agents here whose role or tags match."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import trio

from tinytown.errors import NotFound, ProtocolViolation, Refused, ServerUnreachable
from tinytown.kernel.context import KernelContext
from tinytown.kernel.placement import AgentPlacement
from tinytown.model.agents import Agent
from tinytown.model.events import AgentDesiredStateChanged, AgentSpawned, Event, TaskStateChanged, TaskUpdated
from tinytown.model.tasks import Task

_ROUTED_AT_ONCE = 100_000


class BacklogRouter:
    """Routes the tasks of the backlog; `on_event` says which ones may have become eligible."""

    def __init__(self, context: KernelContext, placement: AgentPlacement) -> None:
        self._context = context
        self._town = context.town
        self._placement = placement
        self._unrouted: set[str] = set()
        self._all_unrouted = True
        self._changed = trio.Event()

    def on_event(self, event: Event) -> None:
        """Note what may bring a task of the backlog together with an agent."""
        if isinstance(event, TaskUpdated) or (isinstance(event, TaskStateChanged) and event.new == "pending"):
            self._unrouted.add(event.task)
        elif (
            isinstance(event, AgentSpawned)
            or (isinstance(event, AgentDesiredStateChanged) and event.desired_state == "running")
            or event.type == "town_restored"
        ):
            self._all_unrouted = True
        else:
            return
        self._changed.set()

    async def run(self) -> None:
        """Route tasks whenever some have become eligible, until cancelled; at first all of the backlog."""
        self._all_unrouted = True
        while True:
            self._changed = trio.Event()
            await self._context.persist(self._route_eligible)
            await self._changed.wait()

    async def _route_eligible(self) -> None:
        try:
            tasks = await self._eligible()
            agents = await self._town.agents() if tasks else ()
            for task in tasks:
                with suppress(NotFound, Refused):  # it was taken, or the chosen agent removed, meanwhile
                    await self._route(task, agents)
        except (ServerUnreachable, ProtocolViolation):
            self._all_unrouted = True
            raise

    async def _eligible(self) -> Sequence[Task]:
        everything, ids = self._all_unrouted, sorted(self._unrouted)
        self._all_unrouted = False
        self._unrouted.clear()
        if everything:
            return await self._town.tasks(state="backlog", limit=_ROUTED_AT_ONCE)
        tasks: list[Task] = []
        for task_id in ids:
            with suppress(NotFound):
                tasks.append(await self._town.task(task_id))
        return [task for task in tasks if task.state == "pending"]

    async def _route(self, task: Task, agents: Sequence[Agent]) -> None:
        candidates = [agent for agent in agents if agent.desired_state == "running"]
        chosen = await self._context.choose_agent(task, candidates)
        if chosen is not None:
            await self._town.run(self._town.operations.claim_from_backlog(task.id, chosen))
        elif self._town.config.auto_claim:
            for worker in self._placement.workers.values():
                if not worker.working and worker.work_tags & ({task.role or "", *task.tags} - {""} or {""}):
                    worker.notify("mail")
