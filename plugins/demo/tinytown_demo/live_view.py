"""The demo on a terminal: agents, tasks and the latest events, redrawn in place at every event.

Uses only escape sequences that every terminal has; pure functions produce the lines.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from tinytown.model.agents import Agent
from tinytown.model.events import AgentReported, Event
from tinytown.model.tasks import Task
from tinytown.model.text import shown

from tinytown_demo.event_lines import event_line

_LINES = 10
_GAP = "  "
_COLUMN = 10  # minimum width, so that columns do not jump at the first long word
#: The style of a state: SGR parameters. Source: ECMA-48, 8.3.117.
_STYLES = {
    "working": "1;33",
    "running": "1;33",
    "completed": "32",
    "failed": "1;31",
    "error": "1;31",
    "cancelled": "31",
    "assigned": "36",
}
_HEADING, _TITLE = "2", "1"

#: While the view is shown the cursor is hidden, and the terminal cuts long lines instead of wrapping them.
_BEGIN, _END = "\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h"
_CLEAR_LINE, _CLEAR_BELOW = "\x1b[K", "\x1b[J"


class LiveView:
    """The state of the town on standard output, which must be a terminal."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._coloured = not os.environ.get("NO_COLOR")
        self._root: Path | None = None
        self._agents: tuple[Agent, ...] = ()
        self._tasks: tuple[Task, ...] = ()
        self._latest: dict[str, str] = {}
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._drawn = 0

    def opened(self, root: Path) -> None:
        self._root = root
        sys.stdout.write(_BEGIN)
        self._draw()

    def event_happened(self, event: Event, text: str) -> None:
        if isinstance(event, AgentReported):
            self._latest[event.agent] = event.text
        elif line := event_line(event, text):
            self._lines.append(f"{self._elapsed_s():5.1f} s  {shown(line, 1_000)}")

    def update(self, agents: Sequence[Agent], tasks: Sequence[Task]) -> None:
        self._agents, self._tasks = tuple(agents), tuple(tasks)
        self._draw()

    def closed(self) -> None:
        if self._root is not None:
            self._draw()
            sys.stdout.write(_END)
            sys.stdout.flush()

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def _draw(self) -> None:
        head = f"tt demo  {self._elapsed_s():.1f} s  {shown(str(self._root or ''), 200)}"
        rows = shutil.get_terminal_size().lines - 1  # the cursor is below the last line
        lines = [
            styled(head, _TITLE, self._coloured),
            "",
            *agent_table(self._agents, self._latest, coloured=self._coloured),
            "",
            *task_table(self._tasks, coloured=self._coloured),
            "",
            *self._lines,
        ][:rows]
        move_up = f"\x1b[{self._drawn}F" if self._drawn else ""
        sys.stdout.write(move_up + "".join(f"{line}{_CLEAR_LINE}\n" for line in lines) + _CLEAR_BELOW)
        sys.stdout.flush()
        self._drawn = len(lines)


def agent_table(agents: Sequence[Agent], latest: Mapping[str, str], *, coloured: bool) -> list[str]:
    """What the agents are doing; `latest` has the last line of each, by name."""
    rows = [(item.name, item.state, item.current_task or "", shown(latest.get(item.name, ""), 200)) for item in agents]
    return _table(("agent", "state", "task", "latest line"), rows, coloured=coloured)


def task_table(tasks: Sequence[Task], *, coloured: bool) -> list[str]:
    """The state of the tasks."""
    rows = [(item.id, item.state, item.assigned_to or "", shown(item.headline)) for item in tasks]
    return _table(("task", "state", "agent", "title"), rows, coloured=coloured)


def styled(text: str, style: str, coloured: bool) -> str:
    """`text` in that style, if `coloured` and the style is not empty."""
    return f"\x1b[{style}m{text}\x1b[0m" if coloured and style else text


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, coloured: bool) -> list[str]:
    """The lines of a table. The last column is not padded."""
    widths = [max(_COLUMN, *map(len, column)) for column in zip(headings, *rows, strict=True)]
    styles = [_HEADING] * len(headings)
    lines = [_line(headings, styles, widths, coloured)]
    for row in rows:
        styles = [
            _STYLES.get(text, "") if heading == "state" else "" for heading, text in zip(headings, row, strict=True)
        ]
        lines.append(_line(row, styles, widths, coloured))
    return lines


def _line(cells: Sequence[str], styles: Sequence[str], widths: Sequence[int], coloured: bool) -> str:
    padded = (
        styled(text.ljust(width), style, coloured) for text, style, width in zip(cells, styles, widths, strict=True)
    )
    return _GAP.join(padded).rstrip()
