"""What a push changes in the town, and what a pull changes in the plan. Pure: from the plan and the town's tasks.

The plan owns the definition of a task (texts, priority, needs, agent), the town its progress. Status and agent can change
on both sides, so the town keeps with each task their values at the last sync (`BASE`, a table of the task's meta): a value
that differs from it was changed on that side, and only that change is carried over. So an outdated plan does not complete
a task again that was reopened in the town.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any, Literal, TypeAlias

import msgspec
from tinytown.model.tasks import FINISHED, Task, TaskState
from tinytown_cli.graph import stages

from tinytown_plans.plan_file import Plan, PlanTask

#: The table of a task's meta with the values of the plan at the last sync: ``{"status", "agent"}``.
BASE = "plan"

Outcome: TypeAlias = Literal["created", "updated", "unchanged", "skipped"]

#: From a name or nickname to the agent's name; unknown words are returned unchanged.
Resolve: TypeAlias = Callable[[str], str]

#: Fields that only the plan changes.
_TEXTS = ("description", "title", "priority", "needs", "tags", "role", "parent")


class Push(msgspec.Struct, frozen=True, kw_only=True):
    """The change to one task of the town.

    ``fields`` are those to change (all of them for a new task), ``agent`` the agent to assign it to (``""``: no change),
    ``requeue`` whether to unassign it, ``hold`` why to hold it (``""``: release it, None: no change), ``finish`` the outcome
    to settle it with, ``base`` the table `BASE` to store (None: unchanged).
    """

    task: PlanTask
    outcome: Outcome
    changes: tuple[str, ...] = ()
    reason: str = ""
    fields: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    agent: str = ""
    requeue: bool = False
    hold: str | None = None
    finish: TaskState | None = None
    base: dict[str, str] | None = None


class Pull(msgspec.Struct, frozen=True, kw_only=True):
    """The change to one entry of the plan: ``values`` are the keys to write, ``base`` the table `BASE` to store."""

    id: str
    outcome: Outcome
    reason: str = ""
    values: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    base: dict[str, str] | None = None


def compare_push(plan: Plan, known: Mapping[str, Task], resolve: Resolve) -> tuple[Push, ...]:
    """The changes of pushing `plan`, ordered so that each task follows those that it needs."""
    tasks = {task.id: task for task in plan.tasks}
    return tuple(
        _push(tasks[id_], plan.agent_of(tasks[id_]), known.get(id_), resolve)
        for stage in stages(plan.needs)
        for id_ in stage
    )


def _push(task: PlanTask, agent: str, town_task: Task | None, resolve: Resolve) -> Push:
    if town_task is None:
        is_open = task.status not in FINISHED
        return Push(
            task=task,
            outcome="created",
            fields={name: getattr(task, name) for name in (*_TEXTS, *(("held", "held_until") if is_open else ()))},
            agent=agent if is_open else "",
            finish=None if is_open else task.status,
            base=base_table(task.status, agent, task.held),
        )
    before = _base(town_task)
    texts = _different_texts(task, town_task)
    finish, status_kept = _outcome_to_push(task, town_task, before)
    assigns = bool(agent) and agent != before.get("agent", "") and resolve(agent) != town_task.assigned_to
    unassigns = not agent and bool(before.get("agent")) and town_task.assigned_to == resolve(before["agent"])
    holds = task.held not in (before.get("held", ""), town_task.held or "")
    changes = (*texts, *(("agent",) if assigns or unassigns else ()), *(("held",) if holds else ()))
    reasons = [status_kept] if status_kept else []
    base = base_table(before.get("status", "") if status_kept else task.status, agent, task.held)
    if changes and (town_task.state in FINISHED or town_task.state in ("running", "verifying")):
        reasons.append(f"it is {town_task.state}: {', '.join(changes)} not changed")
        base = base_table(base["status"], before.get("agent", ""), before.get("held", ""))
        changes, assigns, unassigns, holds = (), False, False, False
    return Push(
        task=task,
        outcome="updated" if changes or finish else "skipped" if reasons else "unchanged",
        changes=(*changes, *(("status",) if finish else ())),
        reason="; ".join(reasons),
        fields={name: getattr(task, name) for name in texts if name in changes},
        agent=agent if assigns else "",
        requeue=unassigns,
        hold=task.held if holds else None,
        finish=finish,
        base=None if base == before else base,
    )


def _outcome_to_push(task: PlanTask, town_task: Task, before: Mapping[str, str]) -> tuple[TaskState | None, str]:
    """The outcome in the plan if it is new to the town; or why the town ignores the plan's status."""
    if task.status == town_task.state or (task.status not in FINISHED and town_task.state not in FINISHED):
        return None, ""
    is_new = task.status != before.get("status", "pending")
    if town_task.state in FINISHED:
        options = f"tt sync pull updates the plan, tt task reopen {task.id} reopens it"
        return None, f"it is {town_task.state} in the town; {options}" if is_new else ""
    return (task.status, "") if is_new else (None, "it was reopened in the town; tt sync pull updates the plan")


def compare_pull(plan: Plan, known: Mapping[str, Task], resolve: Resolve) -> tuple[Pull, ...]:
    """The changes of pulling into `plan`, in the order of the plan."""
    return tuple(_pull(task, plan.agent_of(task), known.get(task.id), resolve) for task in plan.tasks)


def _pull(task: PlanTask, agent: str, town_task: Task | None, resolve: Resolve) -> Pull:
    if town_task is None:
        return Pull(id=task.id, outcome="skipped", reason="not in the town; tt sync push creates it")
    before = _base(town_task)
    base = {"status": task.status, "agent": agent, **before}
    values: dict[str, str] = {}
    kept = list(_different_texts(task, town_task))
    # A person wrote an outcome that is not pushed yet: keep it.
    if task.status in FINISHED and town_task.state not in FINISHED and task.status != before.get("status"):
        kept.append("status")
    else:
        base["status"] = town_task.state
        if town_task.state != task.status:
            values["status"] = town_task.state
    if town_task.assigned_to and town_task.assigned_to != resolve(agent):
        if agent == before.get("agent", task.agent or ""):
            values["agent"] = base["agent"] = town_task.assigned_to
        else:
            kept.append("agent")
    held = town_task.held or ""
    if held != task.held and task.held != before.get("held", ""):
        kept.append("held")
    elif held != task.held:
        values |= {"held": held} | (
            {"held_until": town_task.held_until or ""} if town_task.held_until or task.held_until else {}
        )
        base = base_table(base["status"], base["agent"], held)
    return Pull(
        id=task.id,
        outcome="updated" if values else "skipped" if kept else "unchanged",
        reason=f"changed in the plan and not pushed: {', '.join(kept)}" if kept else "",
        values=values,
        base=None if base == before else base,
    )


def entry_of(task: Task, plan: Plan, ids: Container[str]) -> PlanTask:
    """The entry of `plan` for a task that was not created from it; `ids` are those that it may refer to."""
    return PlanTask(
        id=task.id,
        description=task.description,
        title=task.title,
        agent=task.assigned_to or ("" if plan.meta.default_agent else None),
        status=task.state,
        priority=task.priority,
        tags=task.tags,
        needs=tuple(need for need in task.needs if need in ids),
        role=task.role or "",
        parent=task.parent if task.parent and task.parent in ids else "",
        held=task.held or "",
        held_until=task.held_until or "",
    )


def _different_texts(task: PlanTask, town_task: Task) -> tuple[str, ...]:
    def is_same(name: str) -> bool:
        here, town = getattr(task, name), getattr(town_task, name)
        return set(here) == set(town) if name == "needs" else here == (town or type(here)())

    return tuple(name for name in _TEXTS if not is_same(name))


def base_table(status: str, agent: str, held: str) -> dict[str, str]:
    """The table `BASE` for the values that plan and town agree on."""
    return {"status": status, "agent": agent} | ({"held": held} if held else {})


def _base(task: Task) -> dict[str, str]:
    table = task.meta.get(BASE)
    return {name: str(value) for name, value in table.items()} if isinstance(table, dict) else {}  # pyright: ignore
