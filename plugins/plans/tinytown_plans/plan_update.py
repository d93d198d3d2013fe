"""Writes a town's progress into the text of a plan and changes nothing else in it. Pure, from text to text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from tinytown_cli.toml_edit import Place, edit

from tinytown_plans.plan_file import Plan, PlanTask


def write_back(text: str, plan: Plan, changes: Mapping[str, Mapping[str, str]], new: Iterable[PlanTask] = ()) -> str:
    """`text`, which holds `plan`, with `changes` (id -> key -> value) made and the tasks `new` appended.

    Raises: TinytownError with code ``not_editable``.
    """
    edits: list[tuple[Place, Any]] = [
        (("tasks", number, key), value)
        for number, task in enumerate(plan.tasks)
        for key, value in changes.get(task.id, {}).items()
    ]
    defaults = {field.name: field.default for field in msgspec.structs.fields(PlanTask)}
    for number, task in enumerate(new, len(plan.tasks)):
        fields: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(task))  # lists instead of tuples
        values = {name: value for name, value in fields.items() if getattr(task, name) != defaults[name]}
        edits.append((("tasks", number), values))
    return edit(text, edits) if edits else text
