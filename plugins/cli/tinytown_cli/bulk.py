"""Many tasks added at once: in an order in which each needs only earlier ones, and in one pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tinytown.errors import NotFound, Refused, TinytownError, UsageError
from tinytown.model.results import Assigned
from tinytown.protocol import Operation

from tinytown_cli.client import TownClient
from tinytown_cli.graph import find_cycle

#: Operations in one write; between two writes progress is shown.
_AT_ONCE = 500


def in_order_of_needs(tasks: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The tasks (arguments of `TownOperations.add_task`) in their order, with those that others need before these.

    Raises: UsageError with code ``dependency_cycle``.
    """
    numbers = {task["task_id"]: number for number, task in enumerate(tasks) if task.get("task_id")}
    needs = [[numbers[need] for need in task.get("needs") or () if need in numbers] for task in tasks]
    ids = {number: id_ for id_, number in numbers.items()}
    if cycle := find_cycle({id_: [ids[need] for need in needs[number]] for id_, number in numbers.items()}):
        raise UsageError(
            f"expected tasks without a dependency cycle, got one: {' needs '.join((*cycle, cycle[0]))}",
            hint="remove one of these needs",
            code="dependency_cycle",
        )
    ordered: dict[int, Mapping[str, Any]] = {}
    for first in range(len(tasks)):
        stack = [first]
        while stack:
            missing = [need for need in needs[stack[-1]] if need not in ordered]
            if missing:
                stack += reversed(missing)
            else:
                number = stack.pop()
                ordered.setdefault(number, tasks[number])
    return list(ordered.values())


def add_all(
    town: TownClient,
    operations: Sequence[Operation[Assigned]],
    *,
    on_progress: Callable[[int], object] = lambda _: None,
) -> list[Assigned | TinytownError]:
    """The result of adding each task, in order; in its place what the town refuses. `on_progress` gets how many are done.

    Raises: ServerUnreachable and ProtocolViolation; what was sent until then may have been done.
    """
    results: list[Assigned | TinytownError] = []
    for start in range(0, len(operations), _AT_ONCE):
        for result in town.client.run_all(operations[start : start + _AT_ONCE]):
            if isinstance(result, TinytownError) and not isinstance(result, Refused | NotFound | UsageError):
                raise result
            results.append(result)
        on_progress(len(results))
    return results
