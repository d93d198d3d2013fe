"""The demo in plain lines, for pipes and logs, and as JSON lines, for programs. The picture on a terminal: `live_view`."""

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

from tinytown_demo.story import line_of


class PlainView:
    """A line for whatever is worth one, with the seconds since the beginning."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def began(self, root: Path) -> None:
        self._tell(f"a town with its own repository and its own server in {root}")

    def happened(self, event: Event, text: str) -> None:
        if line := line_of(event, text):
            self._tell(line)

    def now(self, agents: Sequence[Agent], tasks: Sequence[Task]) -> None:
        """Nothing: what has changed has been told."""

    def ended(self) -> None:
        """Nothing: the report follows."""

    def _tell(self, line: str) -> None:
        sys.stdout.write(f"{time.monotonic() - self._began:6.1f} s  {escape_control(line)}\n")
        sys.stdout.flush()


class JsonView:
    """Every event as one line of JSON, as `tt events --json` prints it."""

    def began(self, root: Path) -> None:
        """Nothing: the report at the end says where."""

    def happened(self, event: Event, text: str) -> None:
        fields = event_fields(event)
        print_json({"type": fields.pop("type"), "at": fields.pop("at"), **fields})

    def now(self, agents: Sequence[Agent], tasks: Sequence[Task]) -> None:
        """Nothing: programs follow the events."""

    def ended(self) -> None:
        """Nothing: the report follows."""


def print_json(value: object) -> None:
    """One line of JSON on standard output."""
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.flush()
