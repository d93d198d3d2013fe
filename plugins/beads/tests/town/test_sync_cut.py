"""A sync that is cut off at any of its steps: the next one ends as if nothing had happened. On a real server and real files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tinytown_beads import apply
from tinytown_beads.report import Report
from tinytown_beads.settings import Settings
from tinytown_beads.store import BeadStore, open_store
from tinytown_beads.syncing import sync_file
from tinytown_cli import administration
from tinytown_cli.public import CliContext
from tinytown_testing.shell import Shell

from ..conftest import MOMENT, bead, document, edge


class Cut(BaseException):
    """The process is gone."""


class Scenario:
    """A town of its own on a server that all share, with a bead file that has been in step with it."""

    def __init__(self, directory: Path, url: str) -> None:
        directory.mkdir()
        (directory / "tinytown.toml").write_text(f'name = "{directory.name}"\n[redis]\nurl = "{url}"\n')
        self.directory = directory
        self.file = directory / "issues.jsonl"

    @contextmanager
    def place(self) -> Iterator[BeadStore]:
        context = CliContext()
        context.town = str(self.directory)
        with context.open_town() as town:
            yield open_store(town, Settings(prefix="x"))

    def sync(self) -> Report:
        with self.place() as place:
            return sync_file(place, self.file)

    def begin(self) -> None:
        """In step, and then both sides change: texts, states, sets, needs, something new on each, and one conflict."""
        old = [bead(f"tt-{number}", labels=["a", "b"]) for number in range(1, 8)]
        self.file.write_bytes(document(*old))
        self.sync()
        new = [
            bead("tt-1", labels=["a", "b"], title="new in the file", priority=0),
            bead("tt-2", labels=["a", "b"]),
            bead("tt-3", labels=["a", "b"], status="closed", closed_at=MOMENT, close_reason="failed: no"),
            bead("tt-4", labels=["b", "c"]),
            bead("tt-5", labels=["a", "b"], title="one thing"),
            bead("tt-6", labels=["a", "b"], dependencies=[edge("tt-6", "tt-8")]),
            bead("tt-7", labels=["a", "b"]),
            bead("tt-8", labels=["fresh"]),
        ]
        self.file.write_bytes(document(*new))
        with self.place() as place:
            calls = place.town.operations
            place.town.run_all(
                [
                    administration.update_task(calls, "tt-2", title="new in the town"),
                    administration.update_task(calls, "tt-4", tags=["a", "b", "d"]),
                    administration.update_task(calls, "tt-5", title="another thing"),
                    calls.settle_task("complete", "tt-7", text="all done"),
                    calls.add_task("our own", task_id="own-1", needs=["tt-2"]),
                ]
            )

    def end(self) -> tuple[list[Any], list[Any]]:
        """What both sides say."""
        records = [json.loads(line) for line in self.file.read_text().splitlines()]
        for record in records:
            for name in ("updated_at", "created_at", "closed_at"):
                record.pop(name, None)
            for each in record.get("dependencies", ()):
                each.pop("created_at")
        with self.place() as place:
            tasks = place.town.run(place.town.operations.tasks())
        reported = [
            (task.id, task.title, task.state, task.priority, sorted(task.tags), task.needs, task.result, task.reason)
            for task in sorted(tasks, key=lambda task: task.id)
        ]
        return records, reported


@pytest.fixture
def scenario(tt: Shell, no_town_environment: None) -> Callable[[str], Scenario]:
    tt("init", "--name", "server")
    tt("backlog", "list")
    return lambda name: Scenario(tt.directory / name, tt.server().url)


class Steps:
    """Counts the steps that others can see, a call to the server or a file put into its place, and cuts one off."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = -1
        self.taken = 0
        ask, replace = apply._ask, os.replace

        def counted_ask(town: Any, calls: Any) -> Any:
            answers: list[Any] = []
            for call in calls:
                answers += ask(town, [call])
                self.step()
            return answers

        def counted_replace(*paths: Any) -> None:
            replace(*paths)
            self.step()

        monkeypatch.setattr(apply, "_ask", counted_ask)
        monkeypatch.setattr(os, "replace", counted_replace)

    def step(self) -> None:
        self.taken += 1
        if self.left == 0:
            raise Cut
        self.left -= 1


def test_cut_after_any_step_the_next_sync_ends_right(
    scenario: Callable[[str], Scenario], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = scenario("whole")
    whole.begin()
    steps = Steps(monkeypatch)
    report = whole.sync()
    assert (report.counts["conflict"], report.counts["created"], report.counts["appended"]) == (1, 1, 1)
    expected, number = whole.end(), steps.taken
    assert number >= 7
    records, answer = ({each[key]: each for each in side} for side, key in zip(expected, ("id", 0), strict=True))
    assert (answer["tt-1"][1], answer["tt-3"][2], answer["tt-6"][5]) == ("new in the file", "failed", ("tt-8",))
    assert (records["tt-2"]["title"], records["tt-7"]["status"]) == ("new in the town", "closed")
    assert sorted(records["tt-4"]["labels"]) == list(answer["tt-4"][4]) == ["b", "c", "d"]
    assert (records["tt-5"]["title"], answer["tt-5"][1]) == ("one thing", "another thing")
    for cut in range(number):
        each = scenario(f"cut-{cut}")
        steps.left = -1
        each.begin()
        steps.left = cut
        with pytest.raises(Cut):
            each.sync()
        steps.left = -1
        conflicts = [(row.id, row.fields) for row in each.sync().rows if row.outcome == "conflict"]
        assert conflicts == [("tt-5", ("title",))], f"cut after step {cut}"
        assert each.end() == expected, f"cut after step {cut}"
        content = each.file.read_bytes()
        each.sync()
        assert each.file.read_bytes() == content
        assert not [path for path in each.directory.iterdir() if path.name.startswith(".issues")]
