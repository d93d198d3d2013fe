"""``merge = "pr"``: work is pushed and proposed by a command of the settings, and its task waits for what becomes of that."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tinytown.model.tasks import Task
from tinytown.process import open_process_supervisor
from tinytown.town import Town
from tinytown_git.forge import CommandForge, ForgeFailed, Proposal
from tinytown_git.settings import Settings
from tinytown_git.work import Records, Work
from tinytown_testing.scripted_backend import ScriptedBackend
from tinytown_testing.towns import TownDirectory

from .conftest import Project
from .test_queue import WRITE, commits, record
from .test_workspace import opened, project_of, town

__all__ = ["town"]

pytestmark = pytest.mark.usefixtures("deadline")

#: A forge as a directory: a file for each request with the words that it was made with, and one with what became of it.
GH = """#!/bin/sh
cd {place}
case "$1 $2" in
"pr create")
    shift 2
    [ ! -e broken ] || {{ echo "the forge is down" >&2; exit 1; }}
    [ ! -e request ] || {{ echo "a pull request already exists: https://forge.invalid/pr/1" >&2; exit 1; }}
    printf '%s\\0' "$@" > request
    echo "Creating pull request"
    echo "https://forge.invalid/pr/1" ;;
"pr view")
    [ "$3" = https://forge.invalid/pr/1 ] || exit 1
    cat state 2>/dev/null || echo OPEN ;;
esac
"""

PROPOSAL = Proposal(task="t", agent="ada", title="$(touch pwned) `x`; -t", body="b", branch="tt/ada/t", base="main",
                    remote="origin", commit="0" * 40)  # fmt: skip


@pytest.fixture
def forge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "forge"
    place.mkdir()
    program = tmp_path / "bin" / "gh"
    program.parent.mkdir()
    program.write_text(GH.format(place=place))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return place


def with_origin(town: TownDirectory, place: Path, settings: str = "") -> tuple[Project, Path]:
    town.configure(f'[plugins.git]\nfetch = false\nmerge = "pr"\nforge_poll_s = 0.05\n{settings}', max_attempts=3)
    project, origin = project_of(town), place / "origin.git"
    project.commit({}, "settings")
    project.git("clone", "-q", "--bare", str(project.root), str(origin))
    project.git("remote", "add", "origin", str(origin))
    project.git("fetch", "-q")
    project.git("branch", "-q", "-u", "origin/main")
    return project, origin


async def recorded(living: Town, task: Task) -> Work | None:
    return await Records(living.operations, living.run).read(task.id)


async def test_work_is_pushed_and_proposed_and_completed_when_the_request_is_merged(
    town: TownDirectory, scripted_backend: ScriptedBackend, forge: Path, tmp_path: Path
) -> None:
    scripted_backend.script = commits(WRITE)
    project, origin = with_origin(town, tmp_path)
    tip = project.git("rev-parse", "main")
    async with opened(town) as living:
        ada = await living.spawn("ada")
        task = await ada.assign("one")
        work = await living.wait_until(
            lambda: recorded(living, task), lambda now: now is not None and now.stage == "proposed"
        )
        assert work is not None
        assert (work.place, (await living.task(task.id)).state) == ("https://forge.invalid/pr/1", "verifying")
        assert project.git("rev-parse", f"tt/ada/{task.id}", cwd=origin) == work.commit
        (forge / "state").write_text("MERGED\n")
        assert (await living.wait_for_task(task.id)).state == "completed"
    words = (forge / "request").read_text().split("\0")
    assert words[:-2] == ["--head", f"tt/ada/{task.id}", "--base", "main", "--title", "one", "--body"]
    assert f"Tinytown-Task: {task.id}" in words[-2]
    assert project.git("rev-parse", "main") == tip == project.git("rev-parse", "main", cwd=origin)


async def test_a_request_that_is_closed_sends_the_task_back(
    town: TownDirectory, scripted_backend: ScriptedBackend, forge: Path, tmp_path: Path
) -> None:
    scripted_backend.script = commits(f"{WRITE} || true; git commit -q --allow-empty -m again")
    project, _ = with_origin(town, tmp_path)
    (forge / "state").write_text("CLOSED\n")
    async with opened(town) as living:
        ada = await living.spawn("ada")
        task = await living.wait_for_task((await ada.assign("one")).id)
    assert task.state == "failed"
    assert task.reason == "its pull request was closed: https://forge.invalid/pr/1"
    assert project.git("show", f"tt/ada/{task.id}:one") == "one"


@pytest.mark.parametrize("trouble", ["the forge", "the remote rejects", "the remote is gone"])
async def test_work_waits_with_the_reason_while_it_cannot_be_proposed(
    town: TownDirectory, scripted_backend: ScriptedBackend, forge: Path, tmp_path: Path, trouble: str
) -> None:
    scripted_backend.script = commits(WRITE)
    project, origin = with_origin(town, tmp_path)
    hook = origin / "hooks" / "pre-receive"
    if trouble == "the forge":
        (forge / "broken").touch()
    elif trouble == "the remote rejects":
        hook.write_text("#!/bin/sh\necho not today >&2\nexit 1\n")
        hook.chmod(0o755)
    else:
        origin.rename(tmp_path / "away")
    said = {
        "the forge": "the forge is down",
        "the remote rejects": "not today",
        "the remote is gone": "could not be pushed",
    }
    async with opened(town) as living:
        ada = await living.spawn("ada")
        task = await ada.assign("one")
        await living.wait_until(
            lambda: recorded(living, task), lambda now: now is not None and said[trouble] in now.reason
        )
        assert (await record(living, task)).stage == "queued"
        (forge / "broken").unlink(missing_ok=True)
        hook.unlink(missing_ok=True)
        if trouble == "the remote is gone":
            (tmp_path / "away").rename(origin)
        (forge / "state").write_text("merged\n")
        assert (await living.wait_for_task(task.id)).state == "completed"
    assert project.git("rev-parse", f"tt/ada/{task.id}", cwd=origin)


async def test_commands_see_words_and_no_shell_and_a_request_that_exists_is_taken(forge: Path, tmp_path: Path) -> None:
    settings = Settings()
    async with open_process_supervisor(run_dir=tmp_path) as processes:
        made = CommandForge(settings.forge_create, settings.forge_state, tmp_path, processes)
        assert await made.propose(PROPOSAL) == "https://forge.invalid/pr/1"
        assert await made.propose(PROPOSAL) == "https://forge.invalid/pr/1"
        assert await made.state("https://forge.invalid/pr/1") == "open"
        (forge / "state").write_text("DRAFT\n")
        with pytest.raises(ForgeFailed, match="expected open, merged or closed from gh, got exit status 0: DRAFT"):
            await made.state("https://forge.invalid/pr/1")
        (forge / "broken").touch()
        with pytest.raises(ForgeFailed, match="got exit status 1: the forge is down"):
            await made.propose(PROPOSAL)
    assert PROPOSAL.title in (forge / "request").read_text().split("\0")
    assert not (forge / "pwned").exists()
    assert not (tmp_path / "pwned").exists()
