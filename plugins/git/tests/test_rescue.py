"""Rescue refs: what they hold, and the commands that list, show, restore and delete them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tinytown_git.rescue import list_rescues, take_snapshot
from tinytown_testing.shell import Shell

from .conftest import Project
from .test_worktrees import UNUSUAL, opened

TASK = "11111111-2222-4333-8444-555555555555"


async def test_a_snapshot_has_all_files_and_touches_nothing(project: Project) -> None:
    worktrees, worktree = await opened(project)
    for name in [*UNUSUAL, "Case", "case", "deep/er/file", "ignored.log"]:
        path = worktree.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(ascii(name))
    (worktree.path / "link").symlink_to("/nonexistent")
    (worktree.path / "README").unlink()
    project.git("add", "case", cwd=worktree.path)
    before = project.git("status", "--porcelain", "-z", cwd=worktree.path)
    rescue, _ = await worktrees.snapshot(worktree, "a test")
    assert rescue is not None
    assert project.git("status", "--porcelain", "-z", cwd=worktree.path) == before
    names = set(project.git("ls-tree", "-r", "-z", "--name-only", rescue.ref).rstrip("\0").split("\0"))
    assert names == {".gitignore", *UNUSUAL, "Case", "case", "deep/er/file", "link"}
    again, _ = await worktrees.snapshot(worktree, "a test")
    assert again is None


async def test_a_change_of_the_same_size_in_the_same_second_is_seen(project: Project) -> None:
    for number in range(4):
        worktrees, worktree = await opened(project, f"t{number}")
        (worktree.path / "README").write_text(f"hell{number}\n")
        rescue, _ = await worktrees.snapshot(worktree, "a test")
        assert rescue is not None
        assert project.git("show", f"{rescue.ref}:README") == f"hell{number}"


async def test_the_files_of_a_repository_inside_are_kept_and_it_is_named(project: Project) -> None:
    worktrees, worktree = await opened(project)
    project.git("init", "-q", "fresh", cwd=worktree.path)
    project.git("init", "-q", "used", cwd=worktree.path)
    (worktree.path / "fresh" / "a b").write_text("1")
    project.commit({"file": "2"}, cwd=worktree.path / "used")
    rescue, state = await worktrees.snapshot(worktree, "a test")
    assert rescue is not None
    assert state.left_out == ("fresh", "used")
    assert project.git("show", f"{rescue.ref}:fresh/a b") == "1"
    assert project.git("show", f"{rescue.ref}:used/file") == "2"
    assert "it has repositories of its own: fresh, used" in await worktrees.obstacles(worktree)


async def test_what_an_agent_configures_is_not_run_by_a_snapshot(project: Project) -> None:
    """A worktree belongs to the agent: its .git, and the settings of a repository that it makes there."""
    worktrees, worktree = await opened(project)
    trap = worktree.path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {project.state / 'sprung'}\n")
    trap.chmod(0o755)
    (worktree.path / ".git").unlink()
    project.git("init", "-q", cwd=worktree.path)
    for key in ("core.fsmonitor", "filter.trap.clean", "core.hooksPath", "diff.external"):
        project.git("config", key, str(trap), cwd=worktree.path)
    (worktree.path / ".gitattributes").write_text("* filter=trap\n")
    await take_snapshot(
        worktrees.repository, "t1", worktree.path, worktree.admin, reason="a test", branch=worktree.record.branch
    )
    assert not (project.state / "sprung").exists()


async def test_a_snapshot_survives_a_garbage_collection(project: Project) -> None:
    worktrees, worktree = await opened(project)
    (worktree.path / "work").write_text("x")
    rescue, _ = await worktrees.snapshot(worktree, "a test")
    assert rescue is not None
    project.git("gc", "-q", "--prune=now")
    assert project.git("show", f"{rescue.ref}:work") == "x"


# -- the commands ------------------------------------------------------------------------------------------


@pytest.fixture
def shop(tt: Shell) -> Project:
    """A repository with a town, without a kernel, and a worktree of a task with a rescue of uncommitted work in it."""
    project = Project(tt.directory, Path())
    project.git("init", "-q")
    project.git("config", "user.name", "Ann")
    project.git("config", "user.email", "ann@example.org")
    tt("init", "--name", "shop")
    project.commit({"README": "hello\n"}, "first")
    state = Path(tt("where", "--json").json["state"])
    project.state = state.with_name(f"{state.name}@worktrees")
    return project


async def work_of(project: Project) -> None:
    worktrees, worktree = await opened(project, TASK)
    (worktree.path / "README").write_text("half\n")
    (worktree.path / "new\nline").write_text("half\n")
    await worktrees.snapshot(worktree, "the end of round 7")


async def test_work_that_was_kept_is_listed_shown_and_restored(shop: Project, tt: Shell) -> None:
    assert tt("rescue").out == "nothing was kept: all work is on branches\n"
    await work_of(shop)
    (listed,) = tt("rescue", "--json").json["rescues"]
    assert (listed["task"], listed["files"], listed["reason"]) == (TASK, True, "the end of round 7")
    assert listed["name"] in tt("rescue", "list", "--task", "1111").out
    shown = tt("rescue", "show", "1111", "--diff", "--json").json
    assert shown["paths"] == ["README", "new\nline"]
    assert "+half" in shown["diff"]
    worktree = shop.state / "ada" / TASK
    (worktree / "README").write_text("overwritten by mistake\n")
    (worktree / "new\nline").unlink()
    restored = tt("rescue", "restore", listed["name"], "--json").json
    assert restored["paths"] == ["README", "new\nline"]
    assert (worktree / "README").read_text() == "half\n"
    assert (worktree / "new\nline").exists()
    newest = (await list_rescues(await shop.repository()))[0]
    assert shop.git("show", f"{newest.ref}:README") == "overwritten by mistake"
    tt("rescue", "restore", listed["name"], "--branch", "saved")
    assert shop.git("show", "saved:README") == "half"


async def test_rescues_are_deleted_by_age_or_task(shop: Project, tt: Shell) -> None:
    await work_of(shop)
    assert tt("rescue", "prune", "--older-than", "0").out == "nothing to delete\n"  # its task has a worktree
    assert tt("rescue", "prune", "--task", "1111", "--dry-run").out.startswith("would delete 1111")
    assert len(tt("rescue", "prune", "--task", "1111", "--json").json["rescues"]) == 1
    assert not await list_rescues(await shop.repository())


async def test_bad_names_and_missing_worktrees_get_an_answer(shop: Project, tt: Shell) -> None:
    assert "no rescue called 'nothing'" in tt("rescue", "show", "nothing", code=3).err
    await work_of(shop)
    (shop.state / "ada" / f"{TASK}.json").unlink()
    assert "--branch NAME" in tt("rescue", "restore", "1111", code=4).err
    assert "cannot make the branch" in tt("rescue", "restore", "1111", "--branch", "a..b", code=4).err
    assert "cannot make the branch" in tt("rescue", "restore", "1111", "--branch=-f", code=4).err


async def test_worktrees_of_finished_tasks_are_removed_and_others_stay(shop: Project, tt: Shell) -> None:
    for task in ("finished", "dirty", "open"):
        _, worktree = await opened(shop, task)
        if task != "open":
            worktree.changed(settled="completed")
        if task == "dirty":
            (worktree.path / "left").write_text("x")
    planned = tt("gc", "--dry-run", "--json").json["worktrees"]
    assert {each["task"]: each["removed"] for each in planned} == {"finished": True, "dirty": False, "open": False}
    assert len(list((shop.state / "ada").glob("*.json"))) == 3
    done = {each["task"]: each for each in tt("gc", "--json").json["worktrees"]}
    assert done["dirty"]["reasons"] == ["it has uncommitted work"]
    assert sorted(path.stem for path in (shop.state / "ada").glob("*.json")) == ["dirty", "open"]
    tt("gc", "--force")
    assert sorted(path.stem for path in (shop.state / "ada").glob("*.json")) == ["open"]
    (rescue,) = await list_rescues(await shop.repository(), "dirty")
    assert shop.git("show", f"{rescue.ref}:left") == "x"


def test_outside_of_a_repository_the_commands_say_so(tt: Shell) -> None:
    tt("init", "--name", "nowhere")
    assert "is in no git repository; git init" in tt("rescue", code=3).err
    assert os.path.exists(tt.directory / "tinytown.toml")
