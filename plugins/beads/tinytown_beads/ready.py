"""Which beads are ready, by the rules of ``bd ready``, and why the others are not. Pure.

Source: the rules of `bd` 1.0; its stored flag ``is_blocked`` is computed by `blocked`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from tinytown_beads.bead import Bead, Edge, moment
from tinytown_beads.fields import BLOCKING_EDGES, CHILDREN_EDGE, NOT_READY_TYPES, PARENT_EDGE

_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Graph:
    """The edges among beads, by their source, and the children by parent."""

    edges: Mapping[str, tuple[Edge, ...]]
    children: Mapping[str, tuple[str, ...]]


def graph_of(beads: Mapping[str, Bead]) -> Graph:
    """The edges with both ends among `beads`; an edge belongs to the bead that it names, on whichever line it is."""
    edges: dict[str, list[Edge]] = defaultdict(list)
    children: dict[str, list[str]] = defaultdict(list)
    for bead in beads.values():
        for edge in bead.edges:
            if edge.source not in beads or edge.target not in beads or edge.source == edge.target:
                continue
            edges[edge.source].append(edge)
            if edge.type == PARENT_EDGE:
                children[edge.target].append(edge.source)
    return Graph(
        {key: tuple(group) for key, group in edges.items()}, {key: tuple(child) for key, child in children.items()}
    )


def blocked(beads: Mapping[str, Bead]) -> dict[str, str]:
    """The blocked beads with a reason: an open bead, children, or a blocked parent."""
    graph = graph_of(beads)
    reasons_by_bead: dict[str, str] = {}
    for key, edges in graph.edges.items():
        reasons = [reason for edge in edges if not _settled(beads[key]) and (reason := _blocker(edge, beads, graph))]
        if reasons:
            reasons_by_bead[key] = reasons[0]
    spreading = list(reasons_by_bead)
    while spreading:
        parent = spreading.pop()
        for child in graph.children.get(parent, ()):
            if child not in reasons_by_bead and not _settled(beads[child]):
                reasons_by_bead[child] = f"parent {parent} is blocked"
                spreading.append(child)
    return reasons_by_bead


def _settled(bead: Bead) -> bool:
    return bead.closed or bead.status == "pinned"


def _blocker(edge: Edge, beads: Mapping[str, Bead], graph: Graph) -> str:
    if edge.type in BLOCKING_EDGES:
        return "" if _settled(beads[edge.target]) else f"waiting for {edge.target}"
    if edge.type != CHILDREN_EDGE:
        return ""
    children = [beads[key] for key in graph.children.get(edge.target, ())]
    waiting = [child.id for child in children if not _settled(child)]
    if not waiting or (edge.gate == "any-children" and any(child.closed for child in children)):
        return ""
    return f"waiting for the children of {edge.target}: {', '.join(waiting[:5])}"


def blockers(
    beads: Mapping[str, Bead],
    now: datetime,
    *,
    types: Collection[str] = (),
    deferred: bool = False,
    ephemeral: bool = False,
) -> dict[str, str]:
    """The beads that are not ready, with a reason. `types` are included even if they are excluded by default."""
    waiting, graph = blocked(beads), graph_of(beads)
    reasons: dict[str, str] = {}
    for bead in beads.values():
        until = bead.defer_until
        if bead.status != "open":
            reason = f"status is {bead.status}"
        elif bead.pinned:
            reason = "pinned"
        elif bead.ephemeral and not ephemeral:
            reason = "ephemeral"
        elif bead.issue_type in NOT_READY_TYPES and bead.issue_type not in types:
            reason = f"not workable: type {bead.issue_type}"
        elif types and bead.issue_type not in types:
            reason = f"type is {bead.issue_type}"
        elif until and until > now and not deferred:
            reason = f"deferred until {bead.text('defer_until')}"
        elif not deferred and (parent := _deferred_parent(bead, beads, graph, now)):
            reason = f"parent {parent} is deferred"
        else:
            reason = waiting.get(bead.id, "")
        if reason:
            reasons[bead.id] = reason
    return reasons


def _deferred_parent(bead: Bead, beads: Mapping[str, Bead], graph: Graph, now: datetime) -> str:
    for edge in graph.edges.get(bead.id, ()):
        until = beads[edge.target].defer_until if edge.type == PARENT_EDGE else None
        if until and until > now:
            return edge.target
    return ""


def ready(
    beads: Mapping[str, Bead],
    now: datetime,
    *,
    types: Collection[str] = (),
    deferred: bool = False,
    ephemeral: bool = False,
) -> list[Bead]:
    """The beads that are ready: by priority, then the newest first, then by id."""
    reasons = blockers(beads, now, types=types, deferred=deferred, ephemeral=ephemeral)
    return sorted_beads(bead for bead in beads.values() if bead.id not in reasons)


def sorted_beads(beads: Iterable[Bead]) -> list[Bead]:
    """By priority, then newest first, then by id: the order of files and lists."""

    def sort_key(bead: Bead) -> tuple[int, float, str]:
        return bead.priority, -(moment(bead.text("created_at")) or _EPOCH).timestamp(), bead.id

    return sorted(beads, key=sort_key)
