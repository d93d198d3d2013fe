"""Declared checks run what agents have written: in a real box where their permissions ask for one, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tinytown.contracts import Finished, Outcome, Report, Round
from tinytown_sandbox.bubblewrap import Bubblewrap
from tinytown_sandbox.settings import Settings
from tinytown_testing.scripted_backend import ScriptedBackend
from tinytown_testing.towns import TownDirectory

from .test_queue import WRITE, commits, record
from .test_workspace import opened, project_of, town

__all__ = ["town"]

pytestmark = pytest.mark.usefixtures("deadline")


@pytest.fixture
def outside(town: TownDirectory) -> Iterator[Path]:
    """A file beside the town, where no check has anything to write."""
    file = town.root.with_name(f"{town.root.name}-outside")
    yield file
    file.unlink(missing_ok=True)


def configure(town: TownDirectory, permissions: str, check: str) -> None:
    town.configure(
        f'permissions = "{permissions}"\n[plugins.git]\nfetch = false\n[plugins.git.checks]\ntest = """{check}"""',
        max_attempts=1,
    )
    project_of(town).commit({}, "settings")


def needs_boxes() -> None:
    if problem := Bubblewrap(Settings(), Path.cwd()).problem():
        pytest.skip(problem)


@pytest.mark.parametrize(("permissions", "escapes"), [("write", False), ("full", True)])
async def test_a_check_writes_in_its_worktree_and_outside_of_its_box_only_with_full_permissions(
    town: TownDirectory, scripted_backend: ScriptedBackend, outside: Path, permissions: str, escapes: bool
) -> None:
    needs_boxes()
    configure(town, permissions, f"echo made > made && test -s made && {{ touch {outside} || true; }}")
    scripted_backend.script = commits(WRITE)
    async with opened(town) as living:
        ada = await living.spawn("ada")
        task = await living.wait_for_task((await ada.assign("one")).id)
        work = await record(living, task)
    assert (task.state, work.stage) == ("completed", "merged")
    assert [(check.name, check.passed) for check in work.checks] == [("test", True)]
    assert outside.exists() is escapes


async def test_a_check_in_a_box_sees_neither_the_state_of_the_town_nor_its_server_and_cannot_change_its_settings(
    town: TownDirectory, scripted_backend: ScriptedBackend
) -> None:
    needs_boxes()
    settings = town.root / "tinytown.toml"
    before = settings.read_text()
    configure(
        town,
        "write",
        f"! ls {town.state}/* && ! {{ echo x >> {settings}; }} 2>/dev/null",
    )
    configured = settings.read_text()
    scripted_backend.script = commits(WRITE)
    async with opened(town) as living:
        ada = await living.spawn("ada")
        task = await living.wait_for_task((await ada.assign("one")).id)
    assert task.state == "completed", task.reason
    assert settings.read_text() == configured != before


async def test_where_there_is_no_box_any_more_the_work_is_checked_nowhere_and_refused(
    town: TownDirectory, scripted_backend: ScriptedBackend, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_boxes()
    configure(town, "write", f"touch {outside} || true")
    write = commits(WRITE)

    async def work(round_: Round, report: Report) -> Outcome:
        await write(round_, report)  # type: ignore[misc]
        monkeypatch.setattr(Bubblewrap, "problem", lambda _: "bwrap is not installed")
        return Finished(text="done")

    scripted_backend.script = work
    async with opened(town) as living:
        ada = await living.spawn("ada")
        task = await living.wait_for_task((await ada.assign("one")).id)
    assert task.state == "failed"
    assert "need a box: bwrap is not installed" in (task.reason or "")
    assert not outside.exists()
