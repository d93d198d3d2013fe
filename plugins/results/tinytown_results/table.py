"""The plugin's table beside a task: its schema, the value that was checked, and the rounds whose results were refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from tinytown.model.tasks import Task

TABLE = "results"


class Table(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What ``task.meta["results"]`` holds. `value` is what the last accepted result says."""

    schema: dict[str, Any]
    value: Any = msgspec.UNSET
    refused: tuple[str, ...] = ()


def table_of(task: Task) -> Table | None:
    """The table of a task; None for a task without a schema. Raises: ValueError for a table that is none."""
    table = task.meta.get(TABLE)
    return None if table is None else msgspec.convert(table, Table)


def schema_of(task: Task) -> Mapping[str, Any] | None:
    """The JSON schema that the result of a task has to fit; None if any text will do."""
    table = table_of(task)
    return None if table is None else table.schema


def value_of(task: Task) -> Any:
    """The checked result of a completed task, as JSON has it: what a gate, a program or a dependent task continues with.

    Raises: LookupError if there is none.
    """
    table = table_of(task)
    if table is None or table.value is msgspec.UNSET or task.state not in ("verifying", "completed"):
        raise LookupError(task.id)
    return table.value
