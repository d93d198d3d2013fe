"""Who stands in for an agent. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown_cli.session_forks import TABLE

from tinytown_ops.fallback.hand_over import Declined


def can_work(agent: Agent, parked: Collection[str]) -> bool:
    """Whether an agent is neither in the state ``error`` nor on one of the `parked` accounts."""
    return agent.state != "error" and (agent.account or agent.cli) not in parked


def needs_own_cli(task: Task) -> bool:
    """Whether a task starts from a copy of a session, which no other CLI can read."""
    return TABLE in task.meta


def kinds_left(kinds: Mapping[str, Sequence[str]], own: str, declined: Sequence[Declined]) -> tuple[str, ...]:
    """The kinds that may have a task of an agent of the kind `own`, the first first: those that stand in for any that had it
    before, but none that has declined it."""
    had = dict.fromkeys([*(each.cli for each in declined), own])
    listed = dict.fromkeys(kind for each in had for kind in kinds.get(each, ()))
    return tuple(kind for kind in listed if kind not in had)


def stand_in(agent: Agent, agents: Sequence[Agent], kinds: Sequence[str], parked: Collection[str]) -> Agent | None:
    """The agent with the least to do among those of the first of `kinds` that has one who can work and has the same role."""
    able = [
        each
        for each in agents
        if each.cli in kinds and each.role == agent.role and each.desired_state == "running" and can_work(each, parked)
    ]
    return min(able, key=lambda each: (kinds.index(each.cli), each.open_tasks, each.name), default=None)
