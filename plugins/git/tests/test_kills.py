"""A kernel that dies with the git that it runs, in the middle of every command: nothing is lost, half merged, or blocked."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from tinytown.model.tasks import Task
from tinytown.town import Town
from tinytown_git.work import Records
from tinytown_testing.towns import KernelStarter, TownDirectory

from .conftest import Project
from .test_workspace import project_of, town

__all__ = ["town"]

pytestmark = pytest.mark.usefixtures("deadline")

#: Counts the commands of the town, which all have these options, and kills the one whose number is in the file ``kill-at``
#: some milliseconds after its start, together with its kernel. What agents run is left alone.
WRAPPER = """#!/bin/sh
case "$*" in *core.hooksPath=/dev/null*)
    echo "$*" >> {place}/commands
    if [ "$(wc -l < {place}/commands)" -ge "$(cat {place}/kill-at)" ]; then
        exec 3<&0
        {git} "$@" <&3 3<&- &
        sleep "0.00$(($(cat {place}/kill-at) % 7))"
        kill -9 $! $PPID
        exit 137
    fi
esac
exec {git} "$@"
"""

#: An agent that commits a part and leaves a part, however often its round is begun anew.
WRITER = (
    'name=$(grep -o "task-[a-z0-9]*" | head -1); echo $name > $name; echo $name >> shared-$name; git add $name;'
    "git commit -qm $name; git rev-parse HEAD >> {place}/made; true"
)

_STEP = 3
_MOST = 150


def counted(project: Project, made: Path) -> set[str]:
    """The commits that agents have made and that no ref leads to, by git alone."""
    return set(made.read_text().split()) - project.named_commits()


@pytest.mark.deadline_s(400)
@pytest.mark.parametrize("first", [1, 2, 3])
async def test_the_kernel_is_killed_at_every_third_git_command_from_the(
    town: TownDirectory, start_kernel: KernelStarter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, first: int
) -> None:
    """Each kernel lives a little longer than the last one, so that in the end all is done: together, at every command."""
    git = shutil.which("git")
    assert git is not None
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(WRAPPER.replace("{git}", git).replace("{place}", str(tmp_path)))
    program.chmod(0o755)
    (tmp_path / "kill-at").write_text("0")
    script = WRITER.replace("{place}", str(tmp_path))
    town.configure(
        'default_cli = "writer"\n[plugins.git]\nfetch = false\n[plugins.git.checks]\ntest = "true"\n'
        "[limits]\nmax_deliveries = 200\n"
        f"[agent_clis.writer]\ncommand = ['sh', '-c', '''{script}''']",
        max_attempts=50,
    )
    project = project_of(town)
    project.commit({}, "settings")
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{path}")
    async with town.connect() as living:
        agents = [await living.spawn(f"agent{number}") for number in range(2)]
        tasks = [await agent.assign(f"task-{agent.name[-1]}") for agent in agents]
        kills = 0
        for kill_at in range(first, _MOST, _STEP):
            (tmp_path / "commands").write_text("")
            (tmp_path / "kill-at").write_text(str(kill_at))
            if await all_done(living, tasks, start_kernel):
                break
            kills += 1
        ended = [await living.task(task.id) for task in tasks]
        works, _ = await Records(living.operations, living.run).all()
    monkeypatch.setenv("PATH", path)
    assert kills >= 5
    assert [(task.state, task.reason) for task in ended] == [("completed", None)] * 2
    assert counted(project, tmp_path / "made") == set()
    assert {work.commit for work in works} <= project.named_commits()
    names = project.git("ls-tree", "--name-only", "main").split()
    assert {"task-0", "task-1", "shared-task-0", "shared-task-1"} <= set(names)
    assert project.git("status", "--porcelain") == ""
    assert project.locks() == []
    assert not (project.state / "advance.json").exists()
    project.git("fsck", "--strict")


async def all_done(living: Town, tasks: list[Task], start_kernel: KernelStarter) -> bool:
    """Run a kernel until it is killed, or until all is done; whether it is."""
    try:
        kernel = start_kernel()
    except AssertionError:  # killed before it was ready
        return False

    async def until_done(scope: trio.CancelScope) -> None:
        for task in tasks:
            await living.wait_for_task(task.id)
        scope.cancel()

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_done, scope)
            with suppress(ProcessLookupError):
                while Path(f"/proc/{kernel.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":  # noqa: ASYNC110
                    await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
    if scope.cancelled_caught or all([(await living.task(task.id)).finished for task in tasks]):
        kernel.stop()
        return True
    kernel.wait()
    return False
