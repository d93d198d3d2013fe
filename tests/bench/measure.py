"""Rounds, medians and ratios: competitors take turns within one run, and what came out is printed and kept.

Knows nothing of what is measured. Every ratio is between medians of the same run on the same machine, because
figures of different days or machines say little about each other. All rounds are kept as JSON, not only medians.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from .children import ChildFailed

Figures = Mapping[str, float]


class Skipped(Exception):
    """A competitor that cannot take part here; the text says why and what would change it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Competitor:
    """One thing to measure. `measure` runs one round and returns figures by name; the unit stands in the name."""

    name: str
    measure: Callable[[], Figures]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A claim that a run can confirm or refute: a figure of `competitor`, or its ratio to the best of `beside`.

    With `beside`, `at_least` compares with the largest and `at_most` with the smallest of the medians named there.
    """

    text: str
    competitor: str
    figure: str
    beside: tuple[str, ...] = ()
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """Competitors that are compared by `figures[0]`; the others of `figures` are shown beside it."""

    name: str
    title: str
    figures: tuple[str, ...]
    competitors: tuple[Competitor, ...]
    reference: str | None = None
    wanted: tuple[Wanted, ...] = ()
    conditions: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(slots=True)
class Outcome:
    """What a run gave: `rounds[competitor]` in the order measured, and why others are missing."""

    benchmark: Benchmark
    started_at: str
    rounds: dict[str, list[dict[str, float]]]
    skipped: dict[str, str]

    def median(self, competitor: str, figure: str) -> float | None:
        values = self.values(competitor, figure)
        return statistics.median(values) if values else None

    def values(self, competitor: str, figure: str) -> list[float]:
        return [figures[figure] for figures in self.rounds.get(competitor, []) if figure in figures]


def run_rounds(benchmark: Benchmark, rounds: int, progress: TextIO = sys.stderr) -> Outcome:
    """Measure every competitor `rounds` times, all of them once per round.

    The order turns by one each round, so that nobody always follows the same neighbour. A competitor that is
    skipped or fails is left out from then on and named in the outcome; the others continue.
    """
    started_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    outcome = Outcome(benchmark, started_at, {}, {})
    for number in range(rounds):
        turn = number % len(benchmark.competitors)
        for competitor in (*benchmark.competitors[turn:], *benchmark.competitors[:turn]):
            if competitor.name in outcome.skipped:
                continue
            began = time.monotonic()
            try:
                figures = dict(competitor.measure())
            except (Skipped, ChildFailed) as error:
                outcome.skipped[competitor.name] = str(error)
                print(f"  {competitor.name}: left out: {error}", file=progress, flush=True)
                continue
            outcome.rounds.setdefault(competitor.name, []).append(figures)
            text = ", ".join(f"{key} {_number(value)}" for key, value in figures.items())
            took_s = time.monotonic() - began
            print(
                f"  round {number + 1}/{rounds} {competitor.name}: {text} ({took_s:.1f} s)", file=progress, flush=True
            )
    return outcome


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a claim held in a run: `value` is None when a competitor it needs did not take part."""

    wanted: Wanted
    value: float | None

    @property
    def met(self) -> bool | None:
        if self.value is None:
            return None
        above = self.wanted.at_least is None or self.value >= self.wanted.at_least
        below = self.wanted.at_most is None or self.value <= self.wanted.at_most
        return above and below

    def __str__(self) -> str:
        word = {None: "not measured", True: "met", False: "MISSED"}[self.met]
        unit = "x" if self.wanted.beside else ""
        bounds = [f">= {self.wanted.at_least:g}{unit}"] if self.wanted.at_least is not None else []
        bounds += [f"<= {self.wanted.at_most:g}{unit}"] if self.wanted.at_most is not None else []
        came = "" if self.value is None else f" (came: {self.value:.3g}{unit})"
        return f"{word}: {self.wanted.text}, wanted {' and '.join(bounds)}{came}"


def judge(outcome: Outcome, wanted: Wanted) -> Verdict:
    """Hold one claim against the medians of a run."""
    value = outcome.median(wanted.competitor, wanted.figure)
    if value is None or not wanted.beside:
        return Verdict(wanted, value)
    others = [median for name in wanted.beside if (median := outcome.median(name, wanted.figure)) is not None]
    if not others:
        return Verdict(wanted, None)
    return Verdict(wanted, value / (max(others) if wanted.at_least is not None else min(others)))


def print_table(outcome: Outcome, to: TextIO = sys.stdout) -> None:
    """One line per competitor: median, smallest and largest of the first figure, its ratio, medians of the others."""
    benchmark = outcome.benchmark
    first, *others = benchmark.figures
    reference = outcome.median(benchmark.reference, first) if benchmark.reference else None
    heading = ["", f"median {first}", "min", "max"]
    heading += [f"x {benchmark.reference}"] if reference else []
    rows = [heading + others]
    for competitor in benchmark.competitors:
        values = outcome.values(competitor.name, first)
        if not values:
            continue
        median = statistics.median(values)
        row = [competitor.name, _number(median), _number(min(values)), _number(max(values))]
        row += [f"{median / reference:.2f}"] if reference else []
        for figure in others:
            other = outcome.median(competitor.name, figure)
            row.append("-" if other is None else _number(other))
        rows.append(row)
    print(f"\n{benchmark.title}", file=to)
    for key, value in benchmark.conditions.items():
        print(f"  {key}: {value}", file=to)
    widths = [max(len(row[column]) for row in rows) for column in range(len(heading) + len(others))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("  " + "  ".join(cells).rstrip(), file=to)
    for competitor in benchmark.competitors:
        if competitor.note and competitor.name in outcome.rounds:
            print(f"  {competitor.name}: {competitor.note}", file=to)
    for name, reason in outcome.skipped.items():
        print(f"  left out: {name}: {reason}", file=to)
    for wanted in benchmark.wanted:
        print(f"  {judge(outcome, wanted)}", file=to)


def record(outcome: Outcome, conditions: Mapping[str, str]) -> dict[str, Any]:
    """The run as JSON: raw rounds, medians, spread, verdicts and the machine they hold for."""
    summary: dict[str, dict[str, dict[str, float]]] = {}
    for name, rounds in outcome.rounds.items():
        summary[name] = {
            figure: {"median": statistics.median(values), "min": min(values), "max": max(values)}
            for figure in {key: None for figures in rounds for key in figures}
            if (values := outcome.values(name, figure))
        }
    return {
        "benchmark": outcome.benchmark.name,
        "title": outcome.benchmark.title,
        "started_at": outcome.started_at,
        "machine": machine(),
        "conditions": {**conditions, **outcome.benchmark.conditions},
        "summary": summary,
        "rounds": outcome.rounds,
        "skipped": outcome.skipped,
        "wanted": [
            {"text": verdict.wanted.text, "value": verdict.value, "met": verdict.met}
            for verdict in (judge(outcome, wanted) for wanted in outcome.benchmark.wanted)
        ],
    }


def keep(records: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    """Write the records of a run to a file of its own in `folder` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    path = folder / f"{stamp}-{'-'.join(str(each['benchmark']) for each in records)}.json"
    path.write_text(json.dumps(list(records), indent=1) + "\n")
    return path


def machine() -> dict[str, str | int | float]:
    """What the figures hold for: processor count, system, Python, and how busy the machine was."""
    return {
        "system": platform.platform(),
        "processors": os.cpu_count() or 0,
        "python": platform.python_version(),
        "load_1_minute": round(os.getloadavg()[0], 2),
    }


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
