"""A graph of needs without circles: which edges to leave out, and an order in which everything comes after its needs. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

Edge = tuple[str, str]


def break_cycles(edges: Iterable[Edge]) -> tuple[dict[str, tuple[str, ...]], list[Edge]]:
    """The needs by whoever has them, and the edges that were left out because they close a circle.

    `edges` are (who, need), the ones to keep rather than others first.
    """
    wanted = list(dict.fromkeys(edges))
    in_cycles = _in_cycles([edge for edge in wanted if edge[0] != edge[1]])
    kept: dict[str, list[str]] = defaultdict(list)
    inside: dict[str, list[str]] = defaultdict(list)  # the part of `kept` in which there may be circles
    cut: list[Edge] = []
    for who, need in wanted:
        if who == need or (who in in_cycles and need in in_cycles and _reaches(inside, need, who)):
            cut.append((who, need))
            continue
        kept[who].append(need)
        if who in in_cycles and need in in_cycles:
            inside[who].append(need)
    return {who: tuple(needs) for who, needs in kept.items()}, cut


def in_dependency_order(ids: Iterable[str], needs: Mapping[str, Iterable[str]]) -> list[str]:
    """`ids` in their order, but each behind those of its needs that are among them; `needs` have no circles."""
    known, placed = dict.fromkeys(ids), dict[str, None]()
    for first in known:
        stack = [first]
        while stack:
            each = stack[-1]
            open_needs = [need for need in needs.get(each, ()) if need in known and need not in placed]
            if open_needs and each not in placed:
                stack += open_needs
            else:
                placed[stack.pop()] = None
    return list(placed)


def _in_cycles(edges: list[Edge]) -> set[str]:
    """What is left when everything without needs, then everything that nobody needs, is taken away again and again."""
    left = edges
    for way in (0, 1):
        left = _without_ends(left, way)
    return {end for edge in left for end in edge}


def _without_ends(edges: list[Edge], way: int) -> list[Edge]:
    extra_view_fields: dict[str, list[str]] = defaultdict(list)
    degree: dict[str, int] = defaultdict(int)
    for edge in edges:
        extra_view_fields[edge[1 - way]].append(edge[way])
        degree[edge[way]] += 1
        degree.setdefault(edge[1 - way], 0)
    free = [each for each, count in degree.items() if count == 0]
    for each in free:
        for other in extra_view_fields[each]:
            degree[other] -= 1
            if degree[other] == 0:
                free.append(other)
    gone = set(free)
    return [edge for edge in edges if edge[0] not in gone and edge[1] not in gone]


def _reaches(needs: Mapping[str, list[str]], start: str, goal: str) -> bool:
    stack, seen = [start], set[str]()
    while stack:
        each = stack.pop()
        if each == goal:
            return True
        if each not in seen:
            seen.add(each)
            stack += needs.get(each, ())
    return False
