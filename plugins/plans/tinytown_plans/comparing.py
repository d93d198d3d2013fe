"""What a push would do to the town, and what a pull would do to the plan. Pure: from the plan and the town's tasks.

The plan says what there is to do: texts, priority, needs, agents. The town says how far it is. Where both may speak, status
and agent, the town keeps with each task what the plan said when they last spoke (`BASE`, one of the tables beside a task):
what differs from that was changed on that side, and only that side's change is carried over. So a task that was reopened
in the town is not completed again by a plan that has not heard of it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any, Literal, TypeAlias

import msgspec
from tinytown.model.graph import stages
from tinytown.model.tasks import FINISHED, Task, TaskState

from tinytown_plans.reading import Plan, PlanTask

#: The table beside a task that remembers what the plan said: ``{"status", "agent"}``.
BASE = "plan"

Outcome: TypeAlias = Literal["created", "updated", "unchanged", "skipped"]

#: The name of the agent that a word means; the word itself where the town knows no such agent.
Resolve: TypeAlias = Callable[[str], str]

#: What the plan alone decides.
_TEXTS = ("description", "title", "priority", "needs", "tags", "role", "parent")


class Push(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one task of the plan in the town.

    ``fields`` are those to change (all of them for a new task), ``agent`` whom to give it to (``""`` nobody), ``requeue``
    whether to take it from its agent, ``hold`` why to hold it (``""``: release it), ``finish`` how to settle it, ``base`` what to
    remember (None: as it is).
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
    """What becomes of one task's entry in the plan: ``values`` are the keys to write, ``base`` what to remember."""

    id: str
    outcome: Outcome
    reason: str = ""
    values: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    base: dict[str, str] | None = None


def compare_push(plan: Plan, known: Mapping[str, Task], resolve: Resolve) -> tuple[Push, ...]:
    """What pushing `plan` does, in an order in which each task comes behind those that it needs."""
    tasks = {task.id: task for task in plan.tasks}
    return tuple(
        _push(tasks[id_], plan.agent_of(tasks[id_]), known.get(id_), resolve)
        for wave in stages(plan.needs)
        for id_ in wave
    )


def _push(task: PlanTask, agent: str, there: Task | None, resolve: Resolve) -> Push:
    if there is None:
        is_open = task.status not in FINISHED
        return Push(
            task=task,
            outcome="created",
            fields={name: getattr(task, name) for name in (*_TEXTS, *(("held", "held_until") if is_open else ()))},
            agent=agent if is_open else "",
            finish=None if is_open else task.status,
            base=remembered(task.status, agent, task.held),
        )
    before = _base(there)
    texts = _different_texts(task, there)
    finish, status_kept = _outcome_to_push(task, there, before)
    gives = bool(agent) and agent != before.get("agent", "") and resolve(agent) != there.assigned_to
    takes = not agent and bool(before.get("agent")) and there.assigned_to == resolve(before["agent"])
    holds = task.held not in (before.get("held", ""), there.held or "")
    changes = (*texts, *(("agent",) if gives or takes else ()), *(("held",) if holds else ()))
    reasons = [status_kept] if status_kept else []
    base = remembered(before.get("status", "") if status_kept else task.status, agent, task.held)
    if changes and (there.state in FINISHED or there.state in ("running", "verifying")):
        reasons.append(f"it is {there.state} and keeps its {', '.join(changes)}")
        base = remembered(base["status"], before.get("agent", ""), before.get("held", ""))
        changes, gives, takes, holds = (), False, False, False
    return Push(
        task=task,
        outcome="updated" if changes or finish else "skipped" if reasons else "unchanged",
        changes=(*changes, *(("status",) if finish else ())),
        reason="; ".join(reasons),
        fields={name: getattr(task, name) for name in texts if name in changes},
        agent=agent if gives else "",
        requeue=takes,
        hold=task.held if holds else None,
        finish=finish,
        base=None if base == before else base,
    )


def _outcome_to_push(task: PlanTask, there: Task, before: Mapping[str, str]) -> tuple[TaskState | None, str]:
    """How the plan says a task ended, where that is news; or why the town does not take its status from the plan."""
    if task.status == there.state or (task.status not in FINISHED and there.state not in FINISHED):
        return None, ""
    is_news = task.status != before.get("status", "pending")
    if there.state in FINISHED:
        way_out = f"tt sync pull writes that down, tt task reopen {task.id} opens it again"
        return None, f"it is {there.state} in the town; {way_out}" if is_news else ""
    return (task.status, "") if is_news else (None, "it was opened again in the town; tt sync pull writes that down")


def compare_pull(plan: Plan, known: Mapping[str, Task], resolve: Resolve) -> tuple[Pull, ...]:
    """What pulling into `plan` does, in the order of the plan."""
    return tuple(_pull(task, plan.agent_of(task), known.get(task.id), resolve) for task in plan.tasks)


def _pull(task: PlanTask, agent: str, there: Task | None, resolve: Resolve) -> Pull:
    if there is None:
        return Pull(id=task.id, outcome="skipped", reason="it is not in the town; tt sync push sends it")
    before = _base(there)
    base = {"status": task.status, "agent": agent, **before}
    values: dict[str, str] = {}
    kept = list(_different_texts(task, there))
    # A person who wrote that it is done, and has not pushed that yet, knows more than the town.
    if task.status in FINISHED and there.state not in FINISHED and task.status != before.get("status"):
        kept.append("status")
    else:
        base["status"] = there.state
        if there.state != task.status:
            values["status"] = there.state
    if there.assigned_to and there.assigned_to != resolve(agent):
        if agent == before.get("agent", task.agent or ""):
            values["agent"] = base["agent"] = there.assigned_to
        else:
            kept.append("agent")
    held = there.held or ""
    if held != task.held and task.held != before.get("held", ""):
        kept.append("held")
    elif held != task.held:
        values |= {"held": held} | (
            {"held_until": there.held_until or ""} if there.held_until or task.held_until else {}
        )
        base = remembered(base["status"], base["agent"], held)
    return Pull(
        id=task.id,
        outcome="updated" if values else "skipped" if kept else "unchanged",
        reason=f"changed here and not pushed: {', '.join(kept)}" if kept else "",
        values=values,
        base=None if base == before else base,
    )


def entry_of(task: Task, plan: Plan, ids: Container[str]) -> PlanTask:
    """The entry of `plan` for a task that came into the town another way; `ids` are those that it may speak of."""
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


def _different_texts(task: PlanTask, there: Task) -> tuple[str, ...]:
    def is_same(name: str) -> bool:
        here, town = getattr(task, name), getattr(there, name)
        return set(here) == set(town) if name == "needs" else here == (town or type(here)())

    return tuple(name for name in _TEXTS if not is_same(name))


def remembered(status: str, agent: str, held: str) -> dict[str, str]:
    """The table `BASE` for what a plan and its town have agreed upon."""
    return {"status": status, "agent": agent} | ({"held": held} if held else {})


def _base(task: Task) -> dict[str, str]:
    table = task.meta.get(BASE)
    return {name: str(value) for name, value in table.items()} if isinstance(table, dict) else {}  # pyright: ignore
