"""The trials as tables for people and as JSON to keep. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from .findings import Findings, histogram
from .queues import QueueFindings

_HEADINGS = (
    "seed",
    "tasks",
    "notes",
    "faults",
    "lost",
    "twice",
    "disorder",
    "at once",
    "stuck",
    "left",
    "run again",
    "takeover p50",
    "max",
    "took",
    "",
)


def town_table(trials: Sequence[Findings]) -> list[str]:
    """A line for each trial of a town, and the times to a new lease of all of them as a histogram."""
    rows = [list(_HEADINGS)]
    for each in trials:
        rows.append(
            [
                str(each.seed),
                str(each.tasks),
                str(each.notes),
                str(sum(each.struck.values())),
                str(len(each.lost_tasks) + len(each.lost_notes)),
                str(len(each.completed_twice)),
                str(len(each.tasks_out_of_order) + len(each.notes_out_of_order)),
                str(len(each.at_once)),
                str(len(each.stuck)),
                str(len(each.processes_left)),
                str(each.runs_repeated),
                *_spread(each.takeovers_s),
                f"{each.duration_s:.0f} s",
                "BROKEN: " + ", ".join(each.broken) if each.broken else "held",
            ]
        )
    times = [time_s for each in trials for time_s in each.takeovers_s]
    lines = _aligned(rows)
    if times:
        lines += ["", f"from a kernel's end to its agents' new lease, {len(times)} agents, in seconds:"]
        lines += [f"  from {begin:>5}: {count:>5}" for begin, count in histogram(times).items()]
    return lines


def queue_table(trials: Sequence[QueueFindings]) -> list[str]:
    """A line for each queue: the trials of all seeds together."""
    rows = [["queue", "jobs", "faults", "not done", "done twice", "left", "resumed p50", "max", "never"]]
    for name in dict.fromkeys(each.name for each in trials):
        mine = [each for each in trials if each.name == name]
        times = [time_s for each in mine for time_s in each.takeovers_s]
        rows.append(
            [
                name,
                str(sum(each.jobs for each in mine)),
                str(sum(sum(each.struck.values()) for each in mine)),
                str(sum(each.lost for each in mine)),
                str(sum(each.done_again for each in mine)),
                str(sum(each.processes_left for each in mine)),
                *_spread(times),
                str(sum(each.never_again for each in mine)),
            ]
        )
    return _aligned(rows)


def _spread(times_s: Sequence[float]) -> tuple[str, str]:
    return (f"{statistics.median(times_s):.2f} s", f"{max(times_s):.2f} s") if times_s else ("-", "-")


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
