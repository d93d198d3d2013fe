"""From beads to tasks: which become one, its view, and what is not supported.

Pure, for a whole file at once: needs and inherited needs depend on all beads together.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from tinytown.model.messages import DEFAULT_MESSAGE_LIMIT_BYTES, Priority

from tinytown_beads.bead import Bead, Edge, moment, stamp
from tinytown_beads.cycles import break_cycles
from tinytown_beads.extra_fields import extra_view_fields
from tinytown_beads.fields import BLOCKING_EDGES, CHILDREN_EDGE, PARENT_EDGE, STATE_TYPES
from tinytown_beads.json_text import as_list
from tinytown_beads.ready import Graph, graph_of
from tinytown_beads.task_as_bead import extras_of, own_outcome, own_title, task_id_for
from tinytown_beads.view import View, ViewPriority, ViewState, clean_text, odd_labels, tag_of

#: What is work, what others wait for though no agent works on it, and what is only kept.
TaskRole = Literal["work", "waiting", "unmapped"]

_WAITING_KINDS = frozenset({"gate", "molecule", "escalation"})
_PRIORITIES: tuple[ViewPriority, ...] = ("urgent", "high", "normal", "low", "lowest")

#: With these a reason for closing begins when the work was not done. In the middle of one they mean nothing.
_UNDONE: dict[str, ViewState] = {
    **dict.fromkeys(("failed", "aborted", "timeout", "timed out"), "failed"),
    **dict.fromkeys(("cancelled", "canceled", "rejected", "wontfix", "won't fix", "abandoned"), "cancelled"),
}

TITLE_LIMIT_BYTES = 1000


@dataclass(frozen=True, slots=True)
class Mapped:
    """The result for a file of beads.

    `views` are those that become tasks, `task_ids` their tasks' ids, `unmapped` the others with their kind. `notes` list what
    a task does not support, by bead id. `task_roles` separates work from what work waits for.
    """

    views: Mapping[str, View]
    task_ids: Mapping[str, str]
    unmapped: Mapping[str, str]
    task_roles: Mapping[str, TaskRole]
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])


def map_beads(
    beads: Mapping[str, Bead],
    now: datetime,
    *,
    limit_bytes: int = DEFAULT_MESSAGE_LIMIT_BYTES,
    as_tasks: Container[str] = (),
) -> Mapped:
    """Map `beads` at the moment `now`; texts are truncated to `limit_bytes`.

    The beads `as_tasks` are tasks whatever they are: somebody created them in the town.
    """
    graph = graph_of(beads)
    task_roles = _task_roles(beads, graph, as_tasks)
    unmapped = {key: _unmapped_kind(beads[key]) for key, task_role in task_roles.items() if task_role == "unmapped"}
    notes: dict[str, list[str]] = {}
    needs = _needs(beads, graph, task_roles, notes)
    views = {
        key: _view(bead, needs.get(key, ()), task_roles[key], now, limit_bytes, notes.setdefault(key, []))
        for key, bead in beads.items()
        if task_roles[key] != "unmapped"
    }
    for bead in beads.values():
        dangling = sorted({edge.target for edge in bead.edges if edge.target not in beads})
        if dangling:
            notes.setdefault(bead.id, []).append(
                f"it refers to beads that are not in the file: {', '.join(dangling[:5])}"
            )
    task_ids = {key: task_id_for(beads[key]) for key in views}
    return Mapped(views, task_ids, unmapped, task_roles, {key: tuple(note) for key, note in notes.items() if note})


def _task_roles(beads: Mapping[str, Bead], graph: Graph, as_tasks: Container[str]) -> dict[str, TaskRole]:
    task_roles: dict[str, TaskRole] = {key: _task_role(bead) for key, bead in beads.items()}
    for key, role in task_roles.items():
        if role == "unmapped" and key in as_tasks:
            task_roles[key] = "waiting"
    for key, edges in graph.edges.items():
        if task_roles[key] == "unmapped" or beads[key].closed:
            continue
        for target in (beads[id_] for edge in edges for id_ in _waited_for(edge, graph)):
            # A wisp ends with the agent that works through it, and there is none here. Its gates are opened by others.
            wanted = _holds_up(target) and (not target.ephemeral or target.kind == "gate")
            if wanted and task_roles[target.id] == "unmapped":
                task_roles[target.id] = "waiting"
    return task_roles


def _task_role(bead: Bead) -> TaskRole:
    patrol = bead.kind == "molecule" and bead.text("mol_type") == "patrol"
    if bead.ephemeral or bead.flag("is_template") or bead.pinned or bead.kind in STATE_TYPES or patrol:
        return "unmapped"
    return "waiting" if bead.kind in _WAITING_KINDS else "work"


def _unmapped_kind(bead: Bead) -> str:
    """The kind of a bead that does not become a task."""
    if bead.kind in STATE_TYPES:
        return bead.kind
    return (
        "wisp" if bead.ephemeral else "template" if bead.flag("is_template") else "pinned" if bead.pinned else "patrol"
    )


def _holds_up(bead: Bead) -> bool:
    return not bead.closed and bead.status != "pinned"


def _waited_for(edge: Edge, graph: Graph) -> Sequence[str]:
    """The beads that an edge waits for: its target, or the children of it."""
    if edge.type in BLOCKING_EDGES:
        return (edge.target,)
    return graph.children.get(edge.target, ()) if edge.type == CHILDREN_EDGE and edge.gate == "all-children" else ()


def _needs(
    beads: Mapping[str, Bead], graph: Graph, task_roles: Mapping[str, TaskRole], notes: dict[str, list[str]]
) -> dict[str, tuple[str, ...]]:
    """The needs of each bead: its own edges and those of its parents. Edges that close a cycle are dropped and noted."""
    direct: dict[str, list[str]] = {}
    parents: dict[str, list[str]] = {}
    for key, edges in graph.edges.items():
        for edge in edges:
            if edge.type == PARENT_EDGE:
                parents.setdefault(key, []).append(edge.target)
            wanted = [target for target in _waited_for(edge, graph) if _can_be_needed(beads[target], task_roles)]
            direct.setdefault(key, []).extend(wanted)
    wanting = [key for key, task_role in task_roles.items() if task_role != "unmapped"]
    own = [(key, need) for key in wanting for need in direct.get(key, ())]
    inherited = [
        (key, need) for key in wanting if not beads[key].closed for need in _inherited(key, beads, direct, parents)
    ]
    kept, cut = break_cycles([*own, *inherited])
    for key, need in set(own).intersection(cut):
        notes.setdefault(key, []).append(f"its need of {need} would create a cycle")
    return {key: tuple(sorted(target)) for key, target in kept.items()}


def _can_be_needed(bead: Bead, task_roles: Mapping[str, TaskRole]) -> bool:
    """A bead that was closed without being done blocks nothing in beads; here a failed task would."""
    return task_roles[bead.id] != "unmapped" and _finished_state(bead)[0] in ("open", "completed")


def _inherited(
    key: str, beads: Mapping[str, Bead], direct: Mapping[str, list[str]], parents: Mapping[str, list[str]]
) -> list[str]:
    """The needs of the open parents, transitively. What is closed waits for nothing, and nothing waits because of it."""
    inherited: list[str] = []
    seen, above = {key}, list(parents.get(key, ()))
    while above:
        parent = above.pop()
        if parent not in seen and _holds_up(beads[parent]):
            seen.add(parent)
            inherited += direct.get(parent, ())
            above += parents.get(parent, ())
    return inherited


def _view(
    bead: Bead, needs: tuple[str, ...], task_role: TaskRole, now: datetime, limit_bytes: int, notes: list[str]
) -> View:
    state, outcome = _finished_state(bead)
    if state == "open" and bead.status == "in_progress":
        state = "in_progress"
    description = bead.text("description")
    if len(description.encode("utf-8", "replace")) > limit_bytes:
        notes.append(f"its description is truncated to {limit_bytes:,} bytes in the task")
    tags = [tag_of(label) for label in bead.labels]
    if bead.kind != "task":
        tags.append(tag_of(bead.kind))
    return View(
        title=clean_text(own_title(bead), TITLE_LIMIT_BYTES),
        description=clean_text(description if description.strip() else bead.title, limit_bytes),
        priority=_PRIORITIES[bead.priority],
        state=state,
        outcome=clean_text(outcome, limit_bytes),
        tags=tuple(sorted({tag for tag in tags if tag})),
        needs=needs,
        parent=bead.parent,
        assignee=bead.text("assignee"),
        held="" if bead.closed else clean_text(_held(bead, task_role, now, notes), 1000),
        held_until=_held_until(bead, task_role, now),
        odd_labels=odd_labels(bead.record),
        **extra_view_fields(bead.record, bead.id),
    )


def _finished_state(bead: Bead) -> tuple[ViewState, str]:
    """The final state of a bead's task and its outcome; open while the bead is not closed."""
    if not bead.closed:
        return "open", ""
    reason = bead.text("close_reason")
    own = own_outcome(bead)
    if own is not None:
        return own
    lowered = reason.strip().lower()
    for word, state in _UNDONE.items():
        if lowered.startswith(word):
            return state, reason.strip()[len(word) :].lstrip(" :-") or reason
    return "completed", reason


def _held(bead: Bead, task_role: TaskRole, now: datetime, notes: list[str]) -> str:
    """Why the bead's task must not start although its needs are done."""
    any_of = [edge.target for edge in bead.edges if edge.type == CHILDREN_EDGE and edge.gate == "any-children"]
    until = bead.defer_until
    if task_role == "waiting":
        return _awaited(bead)
    if bead.status == "deferred" or (until and until > now):
        return f"deferred until {bead.text('defer_until')}" if until else "deferred"
    if bead.status == "blocked" or bead.category == "frozen":
        return f"status is {bead.status}"
    if any_of:
        notes.append(f"it waits for any child of {any_of[0]}, which tasks do not support")
        return f"waits for any child of {any_of[0]}"
    return ""


def _held_until(bead: Bead, task_role: TaskRole, now: datetime) -> str:
    """When a hold ends automatically; one by status never does."""
    until = bead.defer_until
    if task_role == "waiting" or bead.category in ("frozen", "done") or bead.status == "blocked" or not until:
        return ""
    return stamp(until) if until > now else ""


def _awaited(bead: Bead) -> str:
    what = bead.text("await_type")
    if not what:
        return f"{bead.kind}: other tasks wait for it; nobody works on it"
    until = opens_at(bead)
    return f"gate: waits until {stamp(until)}" if until else f"gate: waits for {what} {bead.text('await_id')}".rstrip()


def opens_at(bead: Bead) -> datetime | None:
    """The moment at which a timer's gate opens; None for other beads and without a time."""
    begun = moment(bead.text("created_at"))
    if bead.text("await_type") != "timer" or begun is None or not 0 < bead.timeout_ns < 10**18:
        return None
    try:
        return begun + timedelta(microseconds=bead.timeout_ns // 1000)
    except OverflowError:
        return None


def task_arguments(bead: Bead, mapped: Mapped) -> dict[str, Any]:
    """The keyword arguments of `Town.add_task` for a bead, without its origin and without an agent."""
    view, extras = mapped.views[bead.id], extras_of(bead)
    arguments: dict[str, Any] = {
        "description": view.description,
        "title": view.title,
        "priority": task_priority(view),
        "tags": _tags_in_order(bead, view),
        "needs": [mapped.task_ids[need] for need in view.needs],
        "task_id": mapped.task_ids[bead.id],
    }
    if view.parent:
        arguments["parent"] = mapped.task_ids.get(view.parent, "")
    if view.finished:
        arguments["finished"] = view.state
    if view.held:
        arguments |= {"held": view.held, "held_until": view.held_until}
    if view.parent in mapped.views and mapped.views[view.parent].state not in ("failed", "cancelled"):
        again = as_list(extras.get("needs")) or []
        arguments["needs"] += [need for need in again if need == arguments["parent"]]
    for name, kind in (("role", str), ("meta", dict)):
        if isinstance(extras.get(name), kind):
            arguments[name] = extras[name]
    return arguments


def task_priority(view: View) -> Priority:
    """The priority of a task; the lowest of beads is low."""
    return "low" if view.priority == "lowest" else view.priority


def _tags_in_order(bead: Bead, view: View) -> list[str]:
    wanted = dict.fromkeys(tag for tag in map(tag_of, bead.labels) if tag in view.tags)
    return [*wanted, *(tag for tag in view.tags if tag not in wanted)]
