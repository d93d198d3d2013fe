"""From a cooked formula to tasks of a town: all or none, and once. A run has a name, from which its tasks' ids are made.

A run is a group (`tinytown_beads.groups`) whose origin records its source. The group is written first, then the tasks in
dependency order; repeating an interrupted run completes it, and a complete one is left alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from tinytown.errors import Refused, TinytownError, UsageError
from tinytown.model.messages import Priority
from tinytown.model.tasks import Task
from tinytown_beads.groups.record import PLUGIN, Group, as_value, field_of, groups_in, now
from tinytown_beads.groups.town import change_group, known_tasks
from tinytown_cli.public import TownClient, stages

from tinytown_gastown.formulas.cooked import Cooked, CookedStep
from tinytown_gastown.formulas.model import Gate

#: The table that a step's task keeps beside it: formula, run, step, type, gate.
TABLE = "formula"

_PRIORITIES: tuple[Priority, ...] = ("urgent", "high", "normal", "low", "low")
_AT_ONCE = 200
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_TASK_ID_LENGTH = 128


class PlannedTask(NamedTuple):
    """A task to create: arguments of `TownOperations.add_task` beside its description."""

    id: str
    step: str
    description: str
    details: dict[str, Any]

    @property
    def shape(self) -> dict[str, Any]:
        """What people see of it beforehand."""
        return {
            "task_id": self.id,
            "step": self.step,
            "title": self.details["title"],
            "needs": self.details["needs"],
            "agent": self.details["agent"] or None,
            "gate": self.details.get("held"),
            "description": self.description,
        }


class Run(NamedTuple):
    """A planned run: its group's name, and the tasks in dependency order."""

    name: str
    cooked: Cooked
    tasks: tuple[PlannedTask, ...]
    remarks: tuple[str, ...]

    @property
    def stages(self) -> tuple[tuple[str, ...], ...]:
        """The ids of the tasks in stages: each needs only earlier ones."""
        return stages({task.id: task.details["needs"] for task in self.tasks})

    @property
    def digest(self) -> str:
        """Identifies the content of a run, to tell it from another one of the same name."""
        content = [
            (task.id, task.description, {name: value for name, value in task.details.items() if name != "held_until"})
            for task in self.tasks
        ]
        return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()[:16]


def plan_run(town: TownClient, cooked: Cooked, name: str, *, agent: str = "", on: str = "") -> Run:
    """The tasks of `cooked` as the run `name`; nothing is written.

    All go to `agent` if given, else to their assignee if that is an agent of the town, else to the backlog.
    They are parts of the task `on`. Raises: NotFound and Refused for a missing or stopped agent, UsageError for an invalid
    task.
    """
    field_of(name)
    names = {known_agent.name.lower(): known_agent for known_agent in town.run(town.operations.agents())}
    if agent:
        taker = town.run(town.operations.agent(agent))
        if taker.desired_state == "stopped":
            raise Refused(f"agent {taker.name!r} is stopped and accepts no tasks", hint=f"tt resume {taker.name}")
        agent = taker.name
    parent = town.run(town.operations.task(on)).id if on else ""
    remarks = list(cooked.remarks)
    order = [id_ for stage in stages(cooked.needs) for id_ in stage]
    steps = {step.id: step for step in cooked.steps}
    tasks: list[PlannedTask] = []
    for step in (steps[id_] for id_ in order):
        chosen = agent
        if not chosen and step.assignee:
            known = names.get(step.assignee.lower())
            if known is None or known.desired_state == "stopped":
                remarks.append(f"step {step.id!r} goes to the backlog: no agent {step.assignee!r} accepts tasks")
            else:
                chosen = known.name
        tasks.append(_planned(step, cooked, name, chosen, parent))
    for task in tasks:  # what no task may have is found before anything is written
        town.operations.add_task(task.description, task_id=task.id, **task.details)
    return Run(name, cooked, tuple(tasks), tuple(dict.fromkeys(remarks)))


def _planned(step: CookedStep, cooked: Cooked, run: str, agent: str, parent: str) -> PlannedTask:
    id_ = f"{run}.{step.id}"
    if len(id_) > _TASK_ID_LENGTH:
        raise UsageError(
            f"task id {id_[:60]}... has more than {_TASK_ID_LENGTH} characters", hint="choose a shorter --name"
        )
    role = next((label.partition(":")[2] for label in step.labels if label.startswith("role:")), "")
    table: dict[str, Any] = {"formula": cooked.formula, "run": run, "step": step.id, "type": step.type}
    table |= {"metadata": step.metadata} if step.metadata else {}
    details: dict[str, Any] = {
        "agent": agent,
        "title": step.title[:300],
        "priority": _PRIORITIES[2 if step.priority is None else step.priority],
        "needs": tuple(f"{run}.{need}" for need in step.needs),
        "tags": tuple(dict.fromkeys(tag for tag in (run, *map(_tag, step.labels)) if tag)),
        "role": role,
        "parent": f"{run}.{step.parent}" if step.parent else parent,
    }
    if step.gate:
        table["gate"] = msgspec.to_builtins(step.gate)
        details |= hold_of(step.gate, id_)
    return PlannedTask(id_, step.id, step.description, {**details, "meta": {TABLE: table}})


def _tag(label: str) -> str:
    if label.startswith("role:"):
        return ""
    return re.sub(r"[^A-Za-z0-9 ._-]+", "-", label).strip("-. ")[:63]


def hold_of(gate: Gate, task_id: str) -> dict[str, str]:
    """The hold of a task that waits for this gate: a reason, and an end for a timer."""
    detail = " ".join(part for part in (gate.id or gate.await_id, gate.condition, *gate.approvers) if part)
    if gate.type == "timer":
        seconds = duration_s(gate.timeout)
        moment = datetime.now(UTC) + timedelta(seconds=seconds)
        until = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {"held": f"waits {seconds:g} s{detail and f': {detail}'}", "held_until": until}
    awaited = {"gh:pr": "for pull request", "gh:run": "for CI run", "human": "for a person:", "mail": "for mail:"}
    words = awaited.get(gate.type, "for a person:")
    return {"held": f"waits {words} {detail or 'no details'} (tt task release {task_id})"[:500]}


def duration_s(text: str | int) -> float:
    """Seconds of a duration like ``1h30m``, or of nanoseconds. Raises: UsageError."""
    if isinstance(text, int) or text.isdigit():
        return int(text) / 1e9
    match = _DURATION.fullmatch(text.replace(" ", ""))
    if not match or not text.strip():
        raise UsageError(f"expected a duration such as 30m or 1h30m as the gate's timeout, got {text[:80]!r}")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


class RunResult(NamedTuple):
    """The tasks that were created, and those that existed."""

    created: tuple[str, ...]
    existing: tuple[str, ...]


def create_run(town: TownClient, run: Run, *, owner: str) -> RunResult:
    """Create the group and the tasks of a run, or the missing ones.

    Raises: Refused with code ``exists`` if the name belongs to something else.
    """
    ids = tuple(task.id for task in run.tasks)
    group = _claim_name(town, run, ids, owner)
    if group.origin.get("made"):
        return RunResult((), ids)
    existing = {task.id for task in known_tasks(town, ids) if task is not None}
    missing = [task for task in run.tasks if task.id not in existing]
    for first in range(0, len(missing), _AT_ONCE):
        calls = [
            town.operations.add_task(task.description, task_id=task.id, **task.details)
            for task in missing[first : first + _AT_ONCE]
        ]
        for answer in town.client.run_all(calls):
            # Whoever asks for the same run at the same time may have been quicker.
            if isinstance(answer, TinytownError) and answer.code != "exists":
                raise answer
    change_group(town, run.name, lambda old: msgspec.structs.replace(old, origin={**old.origin, "made": True}))
    return RunResult(tuple(task.id for task in missing), tuple(id_ for id_ in ids if id_ in existing))


def _claim_name(town: TownClient, run: Run, ids: tuple[str, ...], owner: str) -> Group:
    """The run's group, created if missing. Raises: Refused with code ``exists``."""
    field = field_of(run.name)
    value = town.run(town.operations.plugin_field(PLUGIN, field))
    if value is None:
        for task in known_tasks(town, ids):
            if task is not None and not _is_of(task, run.name):
                raise Refused(f"a task {task.id} already exists", hint="choose another --name", code="exists")
        origin = {"formula": run.cooked.formula, "values": run.cooked.values, "digest": run.digest, "made": False}
        group = Group(
            name=run.name, created_at=now(), owner=owner, description=run.cooked.title, tasks=ids, origin=origin
        )
        if town.run(town.operations.set_plugin_field(PLUGIN, field, as_value(group), expected=None)):
            return group
        value = town.run(town.operations.plugin_field(PLUGIN, field))
    stored = next(iter(groups_in({field: value})), None)
    if stored is None or stored.origin.get("digest") != run.digest:
        raise Refused(
            f"a group {run.name!r} already exists and is not this run",
            hint="choose another --name",
            code="exists",
        )
    return stored


def _is_of(task: Task, run: str) -> bool:
    table: Mapping[str, Any] = task.meta.get(TABLE) or {}
    return table.get("run") == run
