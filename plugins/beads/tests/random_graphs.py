"""Random graphs of beads, the same for the same number, of which `bd` keeps everything that decides about what is ready."""

from __future__ import annotations

import random
from typing import Any

from .conftest import bead, edge

_STATUSES = [*["open"] * 7, "closed", "closed", "in_progress", "deferred", "blocked", "pinned", "hooked"]
_TYPES = [*["task"] * 6, "epic", "bug", "gate", "molecule", "chore", "message"]
_EDGES = ["blocks", "blocks", "conditional-blocks", "related", "discovered-from", "waits-for"]


def random_graph(number: int, size: int = 12) -> list[dict[str, Any]]:
    """A graph without cycles. Its ids begin with the number."""
    dice = random.Random(number)
    ids = [f"r{number}-{index}" for index in range(size)]
    records = [_random_bead(dice, ids, index) for index in range(size)]
    wisps = {record["id"] for record in records if record["ephemeral"]}
    for record in records:
        # An import skips edges between wisps and other beads.
        record["dependencies"] = [
            each for each in record["dependencies"] if (each["depends_on_id"] in wisps) == record["ephemeral"]
        ]
    edges = [each for record in records for each in record["dependencies"]]
    waited_for = {each["depends_on_id"] for each in edges if each["type"] == "waits-for"}
    children = {
        each["issue_id"] for each in edges if each["type"] == "parent-child" and each["depends_on_id"] in waited_for
    }
    for record in records:
        # A closed one would make "all children" of an edge without a gate "any child", see OURS_ALONE.
        if record["id"] in children and record.pop("closed_at", None):
            record["status"] = "open"
    return records


def _random_bead(dice: random.Random, ids: list[str], index: int) -> dict[str, Any]:
    day = f"2026-01-{dice.randint(1, 28):02}T00:00:00Z"
    status, kind = dice.choice(_STATUSES), dice.random()
    targets: dict[int, str] = {}  # a pair of beads has one edge
    if index:
        for type_ in _EDGES:
            if dice.random() < 0.14:
                targets.setdefault(dice.randrange(index), type_)
        if dice.random() < 0.35:
            targets.setdefault(dice.randrange(index), "parent-child")
    record = bead(
        ids[index],
        status=status,
        priority=dice.randint(0, 4),
        issue_type=dice.choice(_TYPES),
        created_at=day,
        ephemeral=kind < 0.08,
        pinned=0.08 <= kind < 0.12,
        dependencies=[edge(ids[index], ids[target], type_) for target, type_ in targets.items()],
    )
    if status == "closed":
        record["closed_at"] = day
    if dice.random() < 0.15:
        record["defer_until"] = dice.choice(["2100-01-01T00:00:00Z", "2020-01-01T00:00:00Z"])
    return record
