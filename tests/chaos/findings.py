"""What became of a trial: the promises held against what the agents themselves wrote down. Pure but for reading /proc.

The log is written by the agents' own program, which knows nothing of the town's records: a line when it was given a
note, when it began a task (and whether another process was still at it), and when it was done with it. What the town says
of itself is believed only where nobody else could know: when a task was recorded as completed, and why a message was
given up.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tinytown.model.messages import Priority


@dataclass(frozen=True, slots=True)
class Given:
    """One thing that was given to an agent, in the order of giving. Numbers count up over the whole trial."""

    number: int
    agent: str
    priority: Priority
    waits: bool = False  # for other tasks, so that its turn is not its number's


@dataclass(frozen=True, slots=True)
class Log:
    """The agents' log. Each list has a line's agent, priority and number, in the order of writing."""

    reported: tuple[tuple[str, str, int], ...]
    begun: tuple[tuple[str, str, int], ...]
    done: tuple[tuple[str, str, int], ...]
    at_once: tuple[tuple[str, str, int], ...] = ()


def read_log(text: str) -> Log:
    """The log that `text` holds. Raises: ValueError for a line of another form: agents write nothing else."""
    kinds: dict[str, list[tuple[str, str, int]]] = {"note": [], "begun": [], "done": [], "atonce": []}
    for line in text.splitlines():
        kind, agent, priority, number = line.split()
        kinds[kind].append((agent, priority, int(number)))
    return Log(*(tuple(kinds[kind]) for kind in ("note", "begun", "done", "atonce")))


def missing(given: Iterable[Given], lines: Iterable[tuple[str, str, int]]) -> list[int]:
    """Numbers that no line has."""
    seen = {number for _, _, number in lines}
    return [each.number for each in given if each.number not in seen]


def out_of_order(given: Iterable[Given], lines: Iterable[tuple[str, str, int]]) -> list[int]:
    """Numbers that came after a later one of the same agent and priority had come. The first line of each counts; what
    waits for others is left out."""
    waiting = {each.number for each in given if each.waits}
    highest: dict[tuple[str, str], int] = {}
    seen: set[int] = set()
    late: list[int] = []
    for agent, priority, number in lines:
        if number in seen or number in waiting:
            continue
        seen.add(number)
        if number < highest.get((agent, priority), -1):
            late.append(number)
        highest[agent, priority] = max(number, highest.get((agent, priority), -1))
    return late


def repeated(lines: Iterable[tuple[str, str, int]]) -> int:
    """How many lines said again what had been said before."""
    counts = Counter(number for _, _, number in lines)
    return sum(count - 1 for count in counts.values())


def completed_more_than_once(events: Iterable[Any]) -> list[str]:
    """Tasks for which more than one completion was recorded."""
    counts = Counter(event.task for event in events if event.type == "task_state_changed" and event.new == "completed")
    return [task for task, count in counts.items() if count > 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """One trial. The first block are promises: each is empty or the trial has failed."""

    lost_tasks: list[str] = field(default_factory=list[str])
    lost_notes: list[int] = field(default_factory=list[int])
    completed_twice: list[str] = field(default_factory=list[str])
    tasks_out_of_order: list[int] = field(default_factory=list[int])
    notes_out_of_order: list[int] = field(default_factory=list[int])
    at_once: list[tuple[str, str, int]] = field(default_factory=list[tuple[str, str, int]])
    stuck: list[str] = field(default_factory=list[str])
    processes_left: list[str] = field(default_factory=list[str])
    unexplained_dead_letters: list[str] = field(default_factory=list[str])
    not_taken_over: list[str] = field(default_factory=list[str])
    taken_over_late_s: list[float] = field(default_factory=list[float])
    stray_keys: list[str] = field(default_factory=list[str])
    bad_exits: list[str] = field(default_factory=list[str])

    #: Of each lost note, for whoever looks for the cause.
    histories: list[list[str]] = field(default_factory=list[list[str]])
    seed: int
    tasks: int
    notes: int
    duration_s: float
    struck: Mapping[str, int]
    takeovers_s: Sequence[float]
    dead_letters: int
    runs_repeated: int
    notes_repeated: int

    @property
    def broken(self) -> dict[str, list[Any]]:
        """The promises that did not hold, and by what."""
        promises = tuple(Findings.__dataclass_fields__)[:13]
        return {name: value for name in promises if (value := getattr(self, name))}

    def record(self) -> dict[str, Any]:
        """The trial as JSON."""
        return asdict(self) | {"struck": dict(self.struck), "broken": sorted(self.broken)}


def histogram(values: Sequence[float], step: float = 0.25) -> dict[str, int]:
    """How many values lie in each step: ``{"0.75": 12}`` are those from 0.75 up to the next."""
    counts: defaultdict[float, int] = defaultdict(int)
    for value in values:
        counts[int(value / step) * step] += 1
    return {f"{begin:g}": counts[begin] for begin in sorted(counts)}
