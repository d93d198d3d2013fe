"""A cooked formula: its steps with whole texts, each need among their ids. Values only."""

from __future__ import annotations

from typing import Any

import msgspec

from tinytown_gastown.formulas.model import Gate


class CookedStep(msgspec.Struct, frozen=True, kw_only=True):
    """A step that is ready to become a task; its text is complete. ``gate`` is what it waits for besides its needs."""

    id: str
    title: str
    description: str
    type: str = "task"
    priority: int | None = None
    labels: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}
    needs: tuple[str, ...] = ()
    parent: str = ""
    assignee: str = ""
    gate: Gate | None = None


class Cooked(msgspec.Struct, frozen=True, kw_only=True):
    """All steps of a formula with its variables. ``remarks`` list what has no effect here."""

    formula: str
    title: str
    kind: str
    values: dict[str, str]
    steps: tuple[CookedStep, ...]
    remarks: tuple[str, ...] = ()

    @property
    def needs(self) -> dict[str, tuple[str, ...]]:
        """Each step's id -> what has to be completed before it."""
        return {step.id: step.needs for step in self.steps}
