"""Cycle-free graphs of needs: which edges to drop, and an order in which everything follows its needs. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

Edge = tuple[str, str]


def break_cycles(edges: Iterable[Edge]) -> tuple[dict[str, tuple[str, ...]], list[Edge]]:
    """The needs by task, and the edges that were dropped because they close a cycle.

    `edges` are (waiter, need); earlier ones are preferred.
    """
    wanted = list(dict.fromkeys(edges))
    in_cycles = _in_cycles([edge for edge in wanted if edge[0] != edge[1]])
    kept: dict[str, list[str]] = defaultdict(list)
    inside: dict[str, list[str]] = defaultdict(list)  # the part of `kept` in which there may be circles
    cut: list[Edge] = []
    for waiter, need in wanted:
        if waiter == need or (waiter in in_cycles and need in in_cycles and _reaches(inside, need, waiter)):
            cut.append((waiter, need))
            continue
        kept[waiter].append(need)
        if waiter in in_cycles and need in in_cycles:
            inside[waiter].append(need)
    return {waiter: tuple(needs) for waiter, needs in kept.items()}, cut


def in_dependency_order(ids: Iterable[str], needs: Mapping[str, Iterable[str]]) -> list[str]:
    """`ids` in their order, but each after those of its needs that are among them; `needs` has no cycles."""
    known, placed = dict.fromkeys(ids), dict[str, None]()
    for first in known:
        stack = [first]
        while stack:
            current = stack[-1]
            open_needs = [need for need in needs.get(current, ()) if need in known and need not in placed]
            if open_needs and current not in placed:
                stack += open_needs
            else:
                placed[stack.pop()] = None
    return list(placed)


def _in_cycles(edges: list[Edge]) -> set[str]:
    """The nodes that may be in a cycle: repeatedly remove nodes without needs, then nodes without dependants."""
    left = edges
    for side in (0, 1):
        left = _without_ends(left, side)
    return {end for edge in left for end in edge}


def _without_ends(edges: list[Edge], side: int) -> list[Edge]:
    neighbours: dict[str, list[str]] = defaultdict(list)
    degree: dict[str, int] = defaultdict(int)
    for edge in edges:
        neighbours[edge[1 - side]].append(edge[side])
        degree[edge[side]] += 1
        degree.setdefault(edge[1 - side], 0)
    free = [node for node, count in degree.items() if count == 0]
    for node in free:
        for other in neighbours[node]:
            degree[other] -= 1
            if degree[other] == 0:
                free.append(other)
    gone = set(free)
    return [edge for edge in edges if edge[0] not in gone and edge[1] not in gone]


def _reaches(needs: Mapping[str, list[str]], start: str, goal: str) -> bool:
    stack, seen = [start], set[str]()
    while stack:
        node = stack.pop()
        if node == goal:
            return True
        if node not in seen:
            seen.add(node)
            stack += needs.get(node, ())
    return False
