"""The demo on a terminal: agents, tasks and the latest lines, redrawn in place whenever something has happened.

Knows the few escape sequences that every terminal has; what is drawn is made by pure functions.
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

from tinytown_demo.story import line_of

_LINES = 10
_GAP = "  "
_COLUMN = 10  # at least, so that the picture does not jump when the first long word comes
#: How a state is drawn: SGR parameters. Source: ECMA-48, 8.3.117.
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

#: While the picture is there the cursor is hidden, and a line that is too long is cut by the terminal, not continued.
_BEGIN, _END = "\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h"
_CLEAR_LINE, _CLEAR_BELOW = "\x1b[K", "\x1b[J"


class LiveView:
    """A picture of the town on standard output, which has to be a terminal."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._coloured = not os.environ.get("NO_COLOR")
        self._root: Path | None = None
        self._agents: tuple[Agent, ...] = ()
        self._tasks: tuple[Task, ...] = ()
        self._said: dict[str, str] = {}
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._drawn = 0

    def began(self, root: Path) -> None:
        self._root = root
        sys.stdout.write(_BEGIN)
        self._draw()

    def happened(self, event: Event, text: str) -> None:
        if isinstance(event, AgentReported):
            self._said[event.agent] = event.text
        elif line := line_of(event, text):
            self._lines.append(f"{self._elapsed_s():5.1f} s  {shown(line, 1_000)}")

    def now(self, agents: Sequence[Agent], tasks: Sequence[Task]) -> None:
        self._agents, self._tasks = tuple(agents), tuple(tasks)
        self._draw()

    def ended(self) -> None:
        if self._root is not None:
            self._draw()
            sys.stdout.write(_END)
            sys.stdout.flush()

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def _draw(self) -> None:
        head = f"tt demo  {self._elapsed_s():.1f} s  {shown(str(self._root or ''), 200)}"
        rows = shutil.get_terminal_size().lines - 1  # the cursor stands below the last
        picture = [
            styled(head, _TITLE, self._coloured),
            "",
            *agent_table(self._agents, self._said, coloured=self._coloured),
            "",
            *task_table(self._tasks, coloured=self._coloured),
            "",
            *self._lines,
        ][:rows]
        back = f"\x1b[{self._drawn}F" if self._drawn else ""
        sys.stdout.write(back + "".join(f"{line}{_CLEAR_LINE}\n" for line in picture) + _CLEAR_BELOW)
        sys.stdout.flush()
        self._drawn = len(picture)


def agent_table(agents: Sequence[Agent], said: Mapping[str, str], *, coloured: bool) -> list[str]:
    """What the agents are doing; `said` has the latest line of each, by name."""
    rows = [(each.name, each.state, each.current_task or "", shown(said.get(each.name, ""), 200)) for each in agents]
    return _table(("agent", "state", "task", "latest line"), rows, coloured=coloured)


def task_table(tasks: Sequence[Task], *, coloured: bool) -> list[str]:
    """How far the tasks are."""
    rows = [(each.id, each.state, each.assigned_to or "", shown(each.headline)) for each in tasks]
    return _table(("task", "state", "agent", "title"), rows, coloured=coloured)


def styled(text: str, style: str, coloured: bool) -> str:
    """The text, drawn like that where colours are wanted and there is a style."""
    return f"\x1b[{style}m{text}\x1b[0m" if coloured and style else text


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, coloured: bool) -> list[str]:
    """Lines of a table; only the last column may be as long as it likes."""
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
