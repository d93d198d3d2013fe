"""A worktree that holds nothing of its own follows its target between rounds, and nothing else is ever moved."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from tinytown.contracts import Finished, Outcome, Report, Round
from tinytown_cli import administration
from tinytown_git.base import local_base
from tinytown_git.refresh import follow_base
from tinytown_git.worktrees import Worktree, Worktrees
from tinytown_testing.scripted_backend import ScriptedBackend
from tinytown_testing.towns import TownDirectory

from .conftest import Project, run_in_round
from .test_workspace import opened, project_of, town
from .test_worktrees import base_of

__all__ = ["town"]

pytestmark = pytest.mark.usefixtures("deadline")


async def nothing_merged() -> str | None:
    return None


async def followed(project: Project, worktrees: Worktrees, worktree: Worktree, merged: str | None = None) -> Worktree:
    async def merged_commit() -> str | None:
        return merged

    base = await local_base(worktrees.repository, target="", prefix="tt")
    assert base is not None
    return await follow_base(worktrees, worktree, base, merged_commit)


@pytest.fixture
async def made(project: Project) -> Worktree:
    worktrees = await project.worktrees()
    return await worktrees.open("ada", "t1", await base_of(project))


async def test_it_is_moved_to_what_was_merged_meanwhile(project: Project, made: Worktree) -> None:
    tip = project.commit({"README": "new\n", "more": "1"})
    project.git("rm", "-q", ".gitignore")
    tip = project.commit({}, "removed")
    now = await followed(project, await project.worktrees(), made)
    assert (now.record.base, now.record.moving) == (tip, "")
    assert project.git("rev-parse", "HEAD", "tt/ada/t1", cwd=made.path).split() == [tip, tip]
    assert sorted(path.name for path in made.path.iterdir()) == [".git", "README", "more"]
    assert project.git("status", "--porcelain", cwd=made.path) == ""


STAYS = {
    "uncommitted work": "echo mine > mine",
    "a commit of its own": "git commit -q --allow-empty -m mine",
    "another branch": "git switch -qc other",
    "a file that git ignores and the target has": "echo mine > a.log",
    "a merge in progress": "git rev-parse HEAD > $(git rev-parse --git-dir)/MERGE_HEAD",
}


@pytest.mark.parametrize("reason", STAYS)
async def test_it_stays_where_something_would_be_lost(project: Project, made: Worktree, reason: str) -> None:
    project.sh("sh", "-ec", STAYS[reason], cwd=made.path)
    before = project.git("rev-parse", "HEAD", cwd=made.path), sorted(made.path.iterdir())
    (project.root / "a.log").write_text("theirs")
    project.git("add", "-f", "a.log")
    project.commit({}, "meanwhile")
    now = await followed(project, await project.worktrees(), made)
    assert now.record == made.record
    assert (project.git("rev-parse", "HEAD", cwd=made.path), sorted(made.path.iterdir())) == before


async def test_a_person_who_has_switched_to_another_branch_does_not_move_it(project: Project, made: Worktree) -> None:
    project.git("switch", "-qc", "other")
    project.commit({"other": "1"})
    assert (await followed(project, await project.worktrees(), made)).record == made.record


async def test_work_that_was_squashed_is_begun_again_from_its_result(project: Project, made: Worktree) -> None:
    project.commit({"README": "mine\n"}, cwd=made.path)
    own = project.git("rev-parse", "HEAD", cwd=made.path)
    squashed = project.commit({"README": "mine\n"}, "squashed")
    worktrees = await project.worktrees()
    assert (await followed(project, worktrees, made, merged=None)).record == made.record
    now = await followed(project, worktrees, made, merged=own)
    assert now.record.base == project.git("rev-parse", "HEAD", cwd=made.path) == squashed


@pytest.mark.parametrize("when", ["before", "files", "all"])
async def test_a_move_that_was_cut_off_is_finished(project: Project, made: Worktree, when: str) -> None:
    tip = project.commit({"README": "new\n", "more": "1"})
    begun = made.changed(moving=tip)
    if when == "files":
        (made.path / "README").write_text("new\n")
    if when == "all":
        project.git("read-tree", "-m", "-u", "HEAD", tip, cwd=made.path)
    now = await followed(project, await project.worktrees(), begun)
    assert (now.record.base, now.record.moving) == (tip, "")
    assert project.git("rev-parse", "HEAD", cwd=made.path) == tip
    assert project.git("status", "--porcelain", cwd=made.path) == ""


@pytest.mark.parametrize("strategy", ["merge", "squash", "rebase"])
async def test_a_reviewer_sees_what_was_fixed_and_a_reopened_task_begins_from_what_was_merged(
    town: TownDirectory, scripted_backend: ScriptedBackend, strategy: str
) -> None:
    """As in the demo: the review rejects the work and is blocked until it is fixed; the same line is changed twice."""
    town.configure(f'[plugins.git]\nfetch = false\nstrategy = "{strategy}"')
    project, seen = project_of(town), list[str]()

    async def work(round_: Round, report: Report) -> Outcome:
        assert round_.task is not None
        if round_.task.id == "core":
            script = "grep -q first core && echo fixed > core || echo first > core; git add -A; git commit -qm core"
            await trio.to_thread.run_sync(run_in_round, f"touch core; {script}", round_)
            return Finished(text="done")
        seen.append(Path(round_.directory, "core").read_text())
        if seen[-1] == "first\n":
            await living.run(administration.reopen_task(living.operations.keys, "core", reason="fix it"))
        return Finished(text="done")

    scripted_backend.script = work
    async with opened(town) as living:
        ada, bea = await living.spawn("ada"), await living.spawn("bea")
        await living.add_task("write", agent=ada.id, task_id="core")
        await living.add_task("review", agent=bea.id, task_id="review", needs=["core"])
        await living.wait_for_task("review")
        assert (await living.task("core")).state == "completed"
    assert seen == ["first\n", "fixed\n"]
    assert project.git("show", "main:core") == "fixed"
    assert "conflict" not in project.git("log", "--all", "--format=%B")
