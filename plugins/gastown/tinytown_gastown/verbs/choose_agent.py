"""The agent for work that names none: an idle one that matches, else a new one with a free name. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tinytown.model.agents import Agent
from tinytown.model.tasks import Task

#: Names of new agents; after the last one they are numbered.
NAMES = (
    "alder", "ash", "aspen", "beech", "birch", "cedar", "cherry", "elder", "elm", "fir", "hazel", "holly", "juniper",
    "larch", "laurel", "linden", "maple", "oak", "olive", "pear", "pine", "plum", "poplar", "rowan", "spruce", "walnut",
    "willow", "yew",
)  # fmt: skip


def idle_agent(agents: Sequence[Agent], task: Task | None, *, cli: str = "", role: str = "") -> Agent | None:
    """The first idle agent that may take the task: of that kind and role if given."""
    wanted_role = role or (task.role if task else "") or ""
    fitting = [
        agent
        for agent in agents
        if agent.desired_state == "running"
        and agent.state not in ("stopped", "error")
        and not agent.open_tasks
        and not agent.current_task
        and not agent.mail.total
        and (not cli or agent.cli == cli)
        and (not wanted_role or agent.role == wanted_role)
    ]
    return next(iter(fitting), None)


def free_name(agents: Sequence[Agent]) -> str:
    """A name that no agent has."""
    taken = {word.lower() for agent in agents for word in (agent.name, agent.nickname or "")}
    free = [name for name in NAMES if name not in taken]
    if free:
        return free[0]
    return next(f"{name}-{turn}" for turn in range(2, 10_000) for name in NAMES if f"{name}-{turn}" not in taken)
