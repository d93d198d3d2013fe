"""The demo on a terminal: agents, tasks and the latest lines, redrawn in place. Loaded only where it is shown."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tinytown.agents import Agent
from tinytown.demo.story import line_of
from tinytown.events import AgentReported, Event
from tinytown.names import shown
from tinytown.tasks import Task

_LINES = 10
_REDRAWN_A_SECOND = 8
_COLOURS = {
    "working": "bold yellow",
    "running": "bold yellow",
    "completed": "green",
    "failed": "bold red",
    "error": "bold red",
    "cancelled": "red",
    "assigned": "cyan",
}


class LiveView:
    """A picture of the town. Drawn by a thread of rich's, from values that are replaced and never changed."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._began = time.monotonic()
        self._root: Path | None = None
        self._agents: tuple[Agent, ...] = ()
        self._tasks: tuple[Task, ...] = ()
        self._said: dict[str, str] = {}
        self._lines: deque[Text] = deque(maxlen=_LINES)
        self._live = Live(
            console=self._console,
            get_renderable=self._picture,
            refresh_per_second=_REDRAWN_A_SECOND,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def began(self, root: Path) -> None:
        self._root = root
        self._live.start()

    def happened(self, event: Event, text: str) -> None:
        if isinstance(event, AgentReported):
            self._said = {**self._said, event.agent: event.text}
        elif line := line_of(event, text):
            self._lines.append(self._row(f"{time.monotonic() - self._began:5.1f} s  {line}"))

    def now(self, agents: Sequence[Agent], tasks: Sequence[Task]) -> None:
        self._agents, self._tasks = tuple(agents), tuple(tasks)

    def ended(self) -> None:
        if self._live.is_started:
            self._live.stop()

    def _picture(self) -> Group:
        elapsed_s = time.monotonic() - self._began
        head = Text(f"tt demo  {elapsed_s:.1f} s  {shown(str(self._root or ''), 200)}", style="bold", no_wrap=True)
        return Group(head, Text(), self._agent_table(), Text(), self._task_table(), Text(), *list(self._lines))

    def _agent_table(self) -> Table:
        table = _table("agent", "state", "task", "latest line")
        for agent in self._agents:
            said = Text(shown(self._said.get(agent.name, ""), 200), no_wrap=True, overflow="ellipsis")
            table.add_row(agent.name, _coloured(agent.state), agent.current_task or "", said)
        return table

    def _task_table(self) -> Table:
        table = _table("task", "state", "agent", "title")
        for task in self._tasks:
            table.add_row(task.id, _coloured(task.state), task.assigned_to or "", shown(task.headline))
        return table

    def _row(self, line: str) -> Text:
        return Text(line, no_wrap=True, overflow="ellipsis")


def _table(*headings: str) -> Table:
    table = Table(box=None, expand=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in headings:
        table.add_column(heading, no_wrap=True, min_width=10)
    return table


def _coloured(state: str) -> Text:
    return Text(state, style=_COLOURS.get(state, ""))
