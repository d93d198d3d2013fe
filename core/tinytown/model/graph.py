"""In which order the tasks of a plan can be done: stage by stage, and dependency cycles. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def stages(needs: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """The ids of `needs` (id -> ids that come first, all among its keys) in stages; each needs only what earlier ones hold.

    Inside a stage they keep the order of `needs`. Ids on or behind a cycle are in no stage; see `find_cycle`.
    """
    waiting = {id_: set(first) for id_, first in needs.items()}
    dependants: dict[str, list[str]] = {id_: [] for id_ in needs}
    for id_, first in waiting.items():
        for need in first:
            dependants[need].append(id_)
    place = {id_: number for number, id_ in enumerate(needs)}
    result: list[tuple[str, ...]] = []
    stage = [id_ for id_, first in waiting.items() if not first]
    while stage:
        result.append(tuple(stage))
        freed: list[str] = []
        for done in stage:
            for id_ in dependants[done]:
                waiting[id_].discard(done)
                if not waiting[id_]:
                    freed.append(id_)
        stage = sorted(freed, key=place.__getitem__)
    return tuple(result)


def find_cycle(needs: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The ids of one cycle, each needing the next and the last one the first; nothing if there is none."""
    placed = {id_ for stage in stages(needs) for id_ in stage}
    left = [id_ for id_ in needs if id_ not in placed]
    if not left:
        return ()
    # Everything left needs something that is left, so following needs ends in a cycle.
    way, seen = [left[0]], {left[0]: 0}
    while True:
        following = next(need for need in needs[way[-1]] if need not in placed)
        if following in seen:
            return tuple(way[seen[following] :])
        seen[following] = len(way)
        way.append(following)
