"""The service that gives waiting tasks to agents of another kind while their own agents cannot work.

Which kinds stand in for which is the person's choice (`fallback` in ``[plugins.ops]``). A task that an agent works on stays
with it, and nothing goes back by itself: who has a task by then keeps it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Literal

import trio
from tinytown.contracts import Service
from tinytown.errors import ServerUnreachable, TinytownError
from tinytown.model.agents import Agent
from tinytown.model.events import AccountParked, AgentStateChanged, Event, TaskStateChanged
from tinytown.town import Town
from tinytown_sinks import events_from

from tinytown_ops.costs import ledger

#: The event of a task that was given to another agent.
MOVED = "task_fell_back"
_PAUSE_S = 1.0


class Fallback(Service):
    """Gives the tasks of agents that cannot work to agents of the kinds that `kinds` lists for theirs, the first first.

    An agent cannot work while its account is parked, and in the state ``error``. Who stands in has the same role.
    """

    name = "fallback"
    scope: Literal["host", "town"] = "town"

    def __init__(self, kinds: Mapping[str, Sequence[str]]) -> None:
        self._kinds = kinds

    async def run(self, town: Town) -> None:
        """Follow the town's events until cancelled."""
        while True:
            with suppress(ServerUnreachable):
                await self._move(town)
                async with aclosing(events_from(town, self.name, _may_need_it)) as events:
                    async for _ in events:
                        await self._move(town)
            await trio.sleep(_PAUSE_S)

    async def _move(self, town: Town) -> None:
        agents = await town.agents()
        accounts = await town.run(ledger.accounts(town.operations.keys))
        parked = {account.name for account in accounts if account.parked_until}
        for agent in agents:
            if agent.cli in self._kinds and not _can_work(agent, parked):
                for task in await town.tasks(state="assigned", agent=agent.name):
                    stand_in = _stand_in(agent, agents, self._kinds[agent.cli], parked)
                    if stand_in is None:
                        break
                    with suppress(TinytownError):  # the task is in progress or gone by now, or so is the agent
                        await town.run(town.operations.assign_task(task.id, stand_in.name))
                        about = {"task": task.id, "from": agent.name, "to": stand_in.name}
                        await town.run(town.operations.emit(MOVED, {**about, "reason": agent.reason or ""}))
                    agents = await town.agents()


def _may_need_it(event: Event) -> bool:
    match event:
        case AccountParked():
            return True
        case AgentStateChanged(new=new):
            return new == "error"
        case TaskStateChanged(new=new):
            return new == "assigned"
        case _:
            return False


def _can_work(agent: Agent, parked: Collection[str]) -> bool:
    return agent.state != "error" and (agent.account or agent.cli) not in parked


def _stand_in(agent: Agent, agents: Sequence[Agent], kinds: Sequence[str], parked: Collection[str]) -> Agent | None:
    """The agent with the least to do among those of the first kind that has one who can work."""
    able = [
        each
        for each in agents
        if each.cli in kinds and each.role == agent.role and each.desired_state == "running" and _can_work(each, parked)
    ]
    return min(able, key=lambda each: (kinds.index(each.cli), each.open_tasks, each.name), default=None)
