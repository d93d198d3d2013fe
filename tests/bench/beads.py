"""How long a large bead file takes into a town and out of it: whole commands, from their start to their end."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .conditions import Conditions
from .measure import Benchmark, Competitor, Figures, Wanted
from .towns import empty_directory, tt

_MOMENT = "2026-01-14T09:30:00Z"


@contextlib.contextmanager
def beads(conditions: Conditions) -> Iterator[Benchmark]:
    """`tt beads import`, the same again, and `export`, each in a town of its own."""
    number = 500 if conditions.quick else 5_000

    def typed(name: str, *words: str, before: tuple[str, ...] = ()) -> Competitor:
        def measure() -> Figures:
            with empty_directory() as root:
                tt("init", cwd=root)
                _write(root / "issues.jsonl", number)
                if before:
                    tt(*before, cwd=root)
                began = time.perf_counter()
                tt(*words, cwd=root)
                return {"s": time.perf_counter() - began}

        return Competitor(name=name, measure=measure)

    first = ("beads", "import", "issues.jsonl")
    yield Benchmark(
        name="beads",
        title=f"A bead file of {number:,} lines",
        figures=("s",),
        competitors=(
            typed("tt beads import", *first),
            typed("tt beads import, again", *first, before=first),
            typed("tt beads export", "beads", "export", "out.jsonl", before=first),
        ),
        wanted=(
            Wanted(text="an import, s", competitor="tt beads import", figure="s", at_most=3.0),
            Wanted(text="an export, s", competitor="tt beads export", figure="s", at_most=1.0),
        ),
        conditions={
            "a bead": "a description of 300 characters, two labels, one in three with an edge, half of them closed"
        },
    )


def _write(path: Path, number: int) -> None:
    path.write_text("".join(json.dumps(_bead(each)) + "\n" for each in range(number)))


def _bead(number: int) -> dict[str, Any]:
    id_ = f"bench-{number}"
    bead: dict[str, Any] = {"id": id_, "title": f"bead {number}", "description": "word " * 60, "priority": number % 5}
    bead |= {"status": "open", "issue_type": "task", "created_at": _MOMENT, "updated_at": _MOMENT, "labels": ["a", "b"]}
    if number % 2:
        bead |= {"status": "closed", "closed_at": _MOMENT}
    if number % 3 == 0 and number >= 7:
        edge = {"issue_id": id_, "depends_on_id": f"bench-{number - 7}", "type": "blocks", "created_at": _MOMENT}
        bead["dependencies"] = [edge]
    return bead
