"""Which agents pick a task up from the backlog by themselves, and why none does. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from tinytown.model.agents import Agent
from tinytown.model.tasks import Task

from tinytown_cli.formatting import brief_id


class PickupBlocker(NamedTuple):
    """Why no agent picks a task up: `code` for programs, `text` for people, and what to do about it."""

    code: str
    text: str
    fix: str


def pickup_blocker(
    task: Task, agents: Sequence[Agent], *, auto_claim: bool | Literal["tagged"]
) -> PickupBlocker | None:
    """Why no agent picks this task up from the backlog; None when one will."""
    fix = claim_hint(task)
    if not auto_claim:
        return PickupBlocker("no_auto_claim", "automatic claiming is off (auto_claim)", fix)
    if auto_claim == "tagged" and not _words(task):
        return PickupBlocker("no_words", 'no agent picks up tasks without a role or tag (auto_claim = "tagged")', fix)
    if not matching_agents(task, agents):
        words = f" --role {task.role}" if task.role else f" --tags {task.tags[0]}" if task.tags else ""
        spawn = f"tt spawn NAME{words}"
        fits = f"no agent has {role_or_tags(task)}" if words else "there is no agent without role and tags"
        return PickupBlocker("nobody_fits", fits, f"{spawn}; {fix}")
    return None


def matching_agents(task: Task, agents: Sequence[Agent]) -> list[Agent]:
    """The agents that have the task's role or one of its tags, or like the task neither."""
    words = _words(task) or {""}
    return [agent for agent in agents if words & ({agent.role or "", *agent.tags} - {""} or {""})]


def role_or_tags(task: Task) -> str:
    """``the role writer or the tag docs``; ``no role and no tags``."""
    words = [f"the role {task.role}"] * bool(task.role) + [f"the tag {tag}" for tag in task.tags]
    return " or ".join(words) or "no role and no tags"


def claim_hint(task: Task) -> str:
    """The command that assigns a task of the backlog."""
    return f"tt backlog claim {brief_id(task.id)} AGENT assigns it"


def _words(task: Task) -> set[str]:
    return {task.role or "", *task.tags} - {""}
