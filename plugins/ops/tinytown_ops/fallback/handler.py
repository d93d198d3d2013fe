"""What happens to a task that the model of its agent cannot do: it goes to the next kind of agents before it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import trio
from tinytown.contracts import Failed, FailureHandler, Outcome, WorkContext
from tinytown.errors import ServerUnreachable
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown.model.text import shown
from tinytown.town import Town

from tinytown_ops.fallback.hand_over import Declined, declined_by, hand_over
from tinytown_ops.fallback.service import parked_accounts
from tinytown_ops.fallback.stand_ins import kinds_left, needs_own_cli, stand_in

_PAUSE_S = 0.5
_REASON_LENGTH = 500


class DeclinedTasks(FailureHandler):
    """Gives a task that a model refused, or that is too long for it, to an agent of the kinds that `kinds` lists for the
    agent's; each kind gets it once. Only when none is left does it fail, with the reasons of all."""

    name = "fallback"

    def __init__(self, kinds: Mapping[str, Sequence[str]]) -> None:
        self._kinds = kinds

    async def before_failing(self, work: WorkContext, outcome: Outcome) -> str | None:
        if work.task is None or not isinstance(outcome, Failed) or outcome.cause is None or needs_own_cli(work.task):
            return None
        while True:  # the kernel cuts it off
            try:
                return await self._hand_over(work.town, work.agent, work.task, shown(outcome.reason, _REASON_LENGTH))
            except ServerUnreachable:
                await trio.sleep(_PAUSE_S)

    async def _hand_over(self, town: Town, agent: Agent, task: Task, reason: str) -> str | None:
        before = declined_by(task)
        if agent.cli in {each.cli for each in before}:  # somebody has given it back to this kind
            before = ()
        declined = (*before, Declined(agent=agent.name, cli=agent.cli, reason=reason))
        kinds = kinds_left(self._kinds, agent.cli, before)
        if not kinds and not before:
            return None
        agents, parked = await town.agents(), await parked_accounts(town)
        to = stand_in(agent, agents, kinds, parked) or stand_in(agent, agents, kinds, ())  # that account recovers
        if to is None:
            reasons = "; ".join(map(str, declined))
            return f"{reasons}; no agent of {', '.join(kinds)} can take it over" if kinds else reasons
        moved = await town.run(hand_over(town.operations.keys, task, to, reason, declined=declined))
        return f"{reason}; given to {to.name} ({to.cli})" if moved else None
