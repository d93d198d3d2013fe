"""When waiting for agents or tasks is over, and when it cannot end: one rule for programs and commands. Pure."""

from __future__ import annotations

from typing import Literal, TypeAlias

from tinytown.errors import Refused
from tinytown.model.agents import Agent

#: What an agent can be waited for: ``idle`` (no round, no mail, no open task) or one of its states.
Goal: TypeAlias = Literal["idle", "working", "paused", "suspended", "stopped", "error"]


class WaitFailed(Refused):
    """What is waited for will not happen by itself, for the reason that ``code`` names."""

    code = "will_not_be_idle"
    exit_code = 1


def has_reached(agent: Agent, goal: Goal = "idle") -> bool:
    """Whether an agent is in the state that is waited for. A stopped agent without work counts as idle.

    Raises: WaitFailed with code ``will_not_be_idle`` for one that is stopped or in error with work left.
    """
    if goal != "idle":
        return agent.state == goal
    if agent.state not in ("stopped", "error"):
        return agent.at_rest
    if agent.mail.total > agent.mail.with_next or agent.open_tasks:
        raise WaitFailed(
            f"agent {agent.name!r} will not become idle: it is {agent.state} with work left "
            f"({agent.reason or 'no reason given'})",
            hint=f"to continue: tt resume {agent.name}",
            agent=agent.name,
        )
    return True
