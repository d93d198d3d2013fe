"""What a sync has to do: create tasks for new beads, update tasks, and what is refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tinytown.model.agents import Agent
from tinytown.model.tasks import Task

from tinytown_beads.baseline import Baseline
from tinytown_beads.bead import Bead
from tinytown_beads.cycles import in_dependency_order
from tinytown_beads.lines import Line, beads_of
from tinytown_beads.mapping import Mapped, map_beads, task_arguments
from tinytown_beads.merge import Base, Merge, Side, last_part, merge
from tinytown_beads.origins import BeadIds, made_here, origin_of, recorded_bases, recorded_line
from tinytown_beads.task_as_bead import FORMAT, is_ours
from tinytown_beads.view import View, view_of_task


@dataclass(frozen=True, slots=True)
class Create:
    """A task to create for a bead: the arguments of `Town.add_task`, with its agent if there is one."""

    bead: Bead
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Update:
    """An existing task and the merge with its bead."""

    bead: Bead
    task: Task
    merge: Merge


@dataclass(frozen=True, slots=True)
class TownState:
    """The tasks of a town by id, and its agents by lower-case name and id."""

    tasks: Mapping[str, Task]
    agents: Mapping[str, Agent]

    def agent_for(self, assignee: str) -> Agent | None:
        """The agent that an assignee, or its last part, names, unless it is stopped."""
        agent = self.agents.get(assignee.lower()) or self.agents.get(last_part(assignee))
        return agent if agent is not None and agent.desired_state != "stopped" else None


def town_state(tasks: Sequence[Task], agents: Sequence[Agent]) -> TownState:
    """The state from lists of tasks and agents."""
    named = {agent.id: agent for agent in agents} | {agent.name.lower(): agent for agent in agents}
    return TownState({task.id: task for task in tasks}, named)


class Reconciliation:
    """The steps after which `lines` and the town agree.

    `into` is the agent for all new tasks, `""` the backlog, None the assignee. `baseline` is the state of the last sync.
    """

    def __init__(
        self,
        lines: Sequence[Line],
        baseline: Baseline | None,
        town: TownState,
        *,
        now: datetime,
        prefix: str,
        limit_bytes: int,
        into: str | None = None,
        prefer: Side | None = None,
    ) -> None:
        self.lines = lines
        self.town = town
        self.beads = beads_of(lines)
        self.mapped: Mapped = map_beads(
            self.beads, now, limit_bytes=limit_bytes, as_tasks=made_here(town.tasks.values())
        )
        self.ids = BeadIds(town.tasks.values(), prefix, self.mapped.task_ids)
        known, self.bases = baseline.unpack() if baseline else ([], {})
        self.known_lines = {line.key: line for line in known if line.kind == "bead"}
        self.creates: list[Create] = []
        self.updates: list[Update] = []
        #: Beads that the town is not to have, with the reason.
        self.refused: dict[str, str] = {}
        #: Finished tasks that the town has forgotten since.
        self.forgotten: list[str] = []
        self._into = into
        self._prefer: Side | None = prefer
        self._now = now
        self._created_ids: set[str] = set()
        self._decide()

    def _decide(self) -> None:
        records = {line.key: line for line in self.lines if line.bead}
        existing = self._there()
        self.bases |= self._recorded(existing)
        order = in_dependency_order(self.mapped.views, {key: view.needs for key, view in self.mapped.views.items()})
        for key in order:
            bead, task = self.beads[key], existing.get(key)
            if task is not None:
                merged = merge(
                    self.bases.get(key), self.mapped.views[key], view_of_task(task, self.ids), prefer=self._prefer
                )
                self.updates.append(Update(bead, task, merged))
            elif key in self.refused:
                continue
            elif key in self.bases and bead.closed and self.bases[key].town.finished:
                self.forgotten.append(key)
            else:
                self.creates.append(self._create(bead, records[key]))

    def _there(self) -> dict[str, Task]:
        """The existing task of each bead; a task with the same id that is not of this bead is refused."""
        existing: dict[str, Task] = {}
        taken: dict[str, str] = {}
        for key in self.mapped.views:
            id_ = self.mapped.task_ids[key]
            task = self.town.tasks.get(id_)
            origin = (task.origin or {}) if task else {}
            if id_ in taken:
                self.refused[key] = f"{taken[id_]} already maps to the task {id_}"
            elif task is None:
                taken[id_] = key
            elif is_ours(self.beads[key]) or key in self.bases or _is_of(origin, key):
                taken[id_] = key
                existing[key] = task
            else:
                self.refused[key] = f"the town has a task {id_} that is not from this bead"
        return existing

    def _recorded(self, existing: Mapping[str, Task]) -> dict[str, Base]:
        """The assumed bases of tasks without a baseline, from the records they keep."""
        lost = {key: task for key, task in existing.items() if key not in self.bases}
        if not lost:
            return {}
        lines = [line for task in lost.values() if (line := recorded_line(task)) is not None]
        old = beads_of(lines)
        # The beads around them decide with: who is whose parent, and what is closed by now.
        return {
            key: base
            for key, base in recorded_bases({**self.beads, **old}, lost, self.ids, self._now).items()
            if key in old
        }

    def _create(self, bead: Bead, line: Line) -> Create:
        arguments: dict[str, Any] = {**task_arguments(bead, self.mapped), "origin": origin_of(line)}
        # What the town no longer has, or refused, blocks nothing.
        arguments["needs"] = [
            need for need in arguments["needs"] if need in self.town.tasks or need in self._created_ids
        ]
        self._created_ids.add(arguments["task_id"])
        if not bead.closed and self.mapped.task_roles[bead.id] == "work":
            agent = self._agent(bead)
            if agent:
                arguments["agent"] = agent
        return Create(bead, arguments)

    def _agent(self, bead: Bead) -> str:
        if self._into is not None:
            return self._into
        agent = self.town.agent_for(bead.text("assignee")) if bead.text("assignee") else None
        return agent.name if agent else ""

    @property
    def conflicts(self) -> dict[str, list[str]]:
        """The conflicting fields by bead."""
        return {update.bead.id: sorted(update.merge.conflicts) for update in self.updates if update.merge.conflicts}


def _is_of(origin: Mapping[str, Any], key: str) -> bool:
    return origin.get("format") == FORMAT and origin.get("id") == key


def has_news(view: View, base: Base | None) -> bool:
    """Whether a task's view differs from the last one written to the file."""
    return base is None or base.town != view
