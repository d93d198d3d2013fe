"""Handing a task over in one step, and the record of whose models could not do it. Pure, no IO."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from tinytown.model.agents import Agent
from tinytown.model.ids import new_id
from tinytown.model.tasks import Task
from tinytown.protocol import FunctionLibrary, Keys, Operation, function_call

LIBRARY = FunctionLibrary("fallback", Path(__file__).with_name("hand_over.lua"), extends="town")

#: The name under which this plugin keeps data beside a task.
PLUGIN = "ops"


class Declined(msgspec.Struct, frozen=True, kw_only=True):
    """An agent, of the kind `cli`, whose model could not do a task, and why."""

    agent: str
    cli: str
    reason: str

    def __str__(self) -> str:
        return f"{self.agent} ({self.cli}): {self.reason}"


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    declined: tuple[Declined, ...] = ()


def declined_by(task: Task) -> tuple[Declined, ...]:
    """The agents whose models could not do a task, the first first; a record that cannot be read counts as none."""
    table: Any = task.meta.get(PLUGIN, {})
    try:
        return msgspec.convert(table, _Kept).declined
    except msgspec.ValidationError:
        return ()


def hand_over(
    keys: Keys, task: Task, to: Agent, reason: str, *, declined: Sequence[Declined] | None = None
) -> Operation[bool]:
    """Give a task to another agent, if it still waits for the agent of `task` or is in the same round, which then has it no more.

    `reason` is that of the event ``task_fell_back``; `declined` replaces what `declined_by` reads. The result: whether it was
    done.
    """
    kept = "" if declined is None else msgspec.json.encode(_Kept(declined=tuple(declined)))
    words = (task.id, task.agent_id or "", task.round_id or "", to.id, reason, kept)
    return function_call(LIBRARY, "task_hand_over", keys.base, bool, new_id(), *words)
