"""The demo as plain lines for pipes and logs, and as JSON lines for programs. For terminals see `live_view`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from tinytown.model.agents import Agent
from tinytown.model.events import Event, event_fields
from tinytown.model.tasks import Task
from tinytown.model.text import escape_control
from tinytown_cli.context import output

from tinytown_demo.event_lines import event_line


class PlainView:
    """One line for each notable event, with the seconds since the start."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()

    def opened(self, root: Path) -> None:
        self._print(f"created a town with its own git repository and server in {root}")

    def event_happened(self, event: Event, text: str) -> None:
        if line := event_line(event, text):
            self._print(line)

    def update(self, agents: Sequence[Agent], tasks: Sequence[Task]) -> None:
        """Shows nothing: the events are shown."""

    def closed(self) -> None:
        """Shows nothing: the report follows."""

    def _print(self, line: str) -> None:
        sys.stdout.write(f"{time.monotonic() - self._start_s:6.1f} s  {escape_control(line)}\n")
        sys.stdout.flush()


class JsonView:
    """Each event as one line of JSON, as `tt events --json` prints it."""

    def opened(self, root: Path) -> None:
        """Shows nothing: the report has the directory."""

    def event_happened(self, event: Event, text: str) -> None:
        fields = event_fields(event)
        print_json({"type": fields.pop("type"), "at": fields.pop("at"), **fields})

    def update(self, agents: Sequence[Agent], tasks: Sequence[Task]) -> None:
        """Shows nothing: programs follow the events."""

    def closed(self) -> None:
        """Shows nothing: the report follows."""


def print_json(value: object) -> None:
    """One line of JSON on standard output."""
    output().buffer.write(msgspec.json.encode(value) + b"\n")
    output().flush()
