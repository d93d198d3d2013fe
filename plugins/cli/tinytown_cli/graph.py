"""In which order the tasks of a plan can be done: stage by stage, and dependency cycles. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter


def stages(needs: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """The ids of `needs` (id -> ids that come first, all among its keys) in stages; each needs only what earlier ones hold.

    Inside a stage they keep the order of `needs`. Ids on or behind a cycle are in no stage; see `find_cycle`.
    """
    place = {id_: number for number, id_ in enumerate(needs)}
    sorter = TopologicalSorter(needs)
    with suppress(CycleError):
        sorter.prepare()
    result: list[tuple[str, ...]] = []
    while stage := sorter.get_ready():
        result.append(tuple(sorted(stage, key=place.__getitem__)))
        sorter.done(*stage)
    return tuple(result)


def find_cycle(needs: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The ids of one cycle, each needing the next and the last one the first; nothing if there is none."""
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        return tuple(error.args[1][:0:-1])  # from a need to what needs it, with the first id once more at the end
    return ()
