"""A disk that is full and an object store that is read-only, for a while: work waits where it is, and is merged afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio
from tinytown.contracts import Finished, Outcome, Report, Round
from tinytown_testing.scripted_backend import ScriptedBackend
from tinytown_testing.towns import TownDirectory

from .conftest import DEADLINE_S, run_in_round
from .test_workspace import opened, project_of, town

__all__ = ["town"]

pytestmark = pytest.mark.usefixtures("deadline")

#: Takes the object store away, and gives it back by what it returns.
Taker = Callable[[Path, ExitStack], Callable[[], None]]


def run(*command: str) -> bool:
    """Whether a command of the administrator succeeds."""
    return not subprocess.run(command, capture_output=True, timeout=DEADLINE_S, check=False).returncode


def full_device(objects: Path, undo: ExitStack) -> Callable[[], None]:
    """Every write fails, and every read."""
    away = objects.with_name("objects-away")
    objects.rename(away)
    objects.symlink_to("/dev/full")

    def back() -> None:
        objects.unlink()
        away.rename(objects)

    return back


def full_disk(objects: Path, undo: ExitStack) -> Callable[[], None]:
    """A file system of its own without room for another object."""
    kept = objects.with_name("objects-kept")
    shutil.copytree(objects, kept)
    if os.geteuid() or not run("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(objects)):
        pytest.skip("only an administrator can mount a small disk")
    undo.callback(run, "umount", "-l", str(objects))
    shutil.copytree(kept, objects, dirs_exist_ok=True)
    with open(objects / "filler", "wb", buffering=0) as filler:
        try:
            while True:
                filler.write(b"x" * 4096)
        except OSError:
            pass
    return (objects / "filler").unlink


def read_only(objects: Path, undo: ExitStack) -> Callable[[], None]:
    """Nothing may be written, by anybody."""
    if os.geteuid():
        places = [objects, *(path for path in objects.rglob("*") if path.is_dir())]
        for place in places:
            place.chmod(0o500)

        def writable() -> None:
            for place in places:
                place.chmod(0o700)

        undo.callback(writable)
        return writable
    if not run("mount", "--bind", str(objects), str(objects)):
        pytest.skip("this administrator cannot mount")
    undo.callback(run, "umount", "-l", str(objects))
    assert run("mount", "-o", "remount,bind,ro", str(objects))

    def writable_again() -> None:
        assert run("mount", "-o", "remount,bind,rw", str(objects))

    return writable_again


@pytest.fixture
def undo() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("take", [full_device, full_disk, read_only])
async def test_a_store_that_takes_nothing_for_a_while_costs_no_work(
    town: TownDirectory, scripted_backend: ScriptedBackend, undo: ExitStack, take: Taker
) -> None:
    project = project_of(town)
    objects = project.root / ".git" / "objects"
    giving: list[Callable[[], None]] = []

    async def work(round_: Round, report: Report) -> Outcome:
        await trio.to_thread.run_sync(run_in_round, "echo x > work", round_)
        giving.append(take(objects, undo))
        return Finished(text="done")

    scripted_backend.script = work
    async with opened(town) as living:
        ada = await living.spawn("ada")
        task = await ada.assign("work")
        await living.wait_until(lambda: living.task(task.id), lambda now: now.state == "verifying")
        worktree = project.state / "ada" / task.id
        await trio.sleep(1)  # in which it is tried again and again
        assert (await living.task(task.id)).state == "verifying"
        assert (worktree / "work").read_text() == "x\n"
        giving.pop()()
        assert (await living.wait_for_task(task.id)).state == "completed"
    assert project.git("show", "main:work") == "x"
    project.git("fsck", "--strict")
