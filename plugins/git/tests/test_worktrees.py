"""Worktrees of tasks: made, found again, repaired, removed, and what agents do to them."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from tinytown.errors import Refused
from tinytown_git.base import Base, choose_base
from tinytown_git.rescue import list_rescues
from tinytown_git.worktrees import Worktree, Worktrees, ref_word

from .conftest import Project, spawn

UNUSUAL = ["with blank", "-leading-dash", "new\nline", 'quo"te', "*.glob", "ä-ümlaut", os.fsdecode(b"not-utf8-\xff")]


async def base_of(project: Project, **options: str) -> Base:
    base = await choose_base(
        await project.repository(), target=options.get("target", ""), prefix="tt", fetch=bool(options.get("fetch"))
    )
    assert base is not None
    return base


async def opened(project: Project, task: str = "t1", agent: str = "ada") -> tuple[Worktrees, Worktree]:
    worktrees = await project.worktrees()
    async with worktrees.lock(agent, task):
        return worktrees, await worktrees.open(agent, task, await base_of(project))


# -- made ---------------------------------------------------------------------------------------------------


async def test_a_task_gets_a_worktree_on_a_branch_of_its_own(project: Project) -> None:
    before = project.look()
    _, worktree = await opened(project)
    assert worktree.path == project.state / "ada" / "t1"
    assert project.git("branch", "--show-current", cwd=worktree.path) == "tt/ada/t1"
    assert (worktree.path / "README").read_text() == "hello\n"
    project.commit({"new": "x"}, cwd=worktree.path)
    assert project.look() == before
    assert (worktree.record.base, worktree.record.target) == (before[0], "refs/heads/main")


async def test_it_begins_from_the_branch_that_the_person_is_on(project: Project) -> None:
    project.git("switch", "-qc", "feature")
    tip = project.commit({"feature": "x"})
    _, worktree = await opened(project)
    assert (worktree.record.base, worktree.record.target) == (tip, "refs/heads/feature")


async def test_it_begins_from_what_is_merged_and_waits_for_its_target(project: Project) -> None:
    project.git("switch", "-qc", "tt/merged")
    merged = project.commit({"merged": "x"})
    project.git("switch", "-q", "main")
    assert (await base_of(project)).commit == merged
    project.git("merge", "-q", "tt/merged")
    on_top = project.commit({"later": "x"})
    assert (await base_of(project)).commit == on_top


async def test_a_detached_head_is_a_base_without_a_target(project: Project) -> None:
    project.git("switch", "-q", "--detach")
    base = await base_of(project)
    assert (base.commit, base.target) == (project.git("rev-parse", "HEAD"), None)


async def test_a_repository_without_commits_has_no_base(project: Project, tmp_path: Path) -> None:
    project.git("init", "-q", str(tmp_path / "empty"))
    empty = Project(tmp_path / "empty", project.state)
    assert await choose_base(await empty.repository(), target="", prefix="tt", fetch=True) is None


async def test_a_bare_repository_and_a_worktree_are_as_good(project: Project, tmp_path: Path) -> None:
    project.git("clone", "-q", "--bare", ".", str(tmp_path / "bare.git"))
    project.git("worktree", "add", "-q", "-b", "side", str(tmp_path / "linked"))
    (tmp_path / "linked" / "below").mkdir()
    for number, root in enumerate((tmp_path / "bare.git", tmp_path / "linked" / "below")):
        _, worktree = await opened(Project(root, tmp_path / f"state{number}"))
        assert (worktree.path / "README").exists()
    assert (await Project(tmp_path / "linked" / "below", project.state).repository()).prefix == Path("below")
    assert worktree.record.target == "refs/heads/side"


async def test_a_stale_base_is_noticed_and_a_missing_remote_is_no_obstacle(project: Project, tmp_path: Path) -> None:
    project.git("clone", "-q", ".", str(tmp_path / "clone"))
    project.commit({"later": "x"})
    clone = Project(tmp_path / "clone", project.state)
    base = await base_of(clone, fetch="yes")
    assert (base.behind, base.upstream, base.problem) == (1, "refs/remotes/origin/main", "")
    shutil.move(project.root, tmp_path / "moved")
    base = await base_of(clone, fetch="yes")
    assert base.behind == 1
    assert "git fetch" in base.problem
    shutil.move(tmp_path / "moved", project.root)


async def test_a_remote_beside_the_repository_is_found_from_its_top(project: Project) -> None:
    project.git("clone", "-q", "--bare", ".", "../origin.git")
    project.git("remote", "add", "origin", "../origin.git")
    project.git("fetch", "-q")
    project.git("branch", "-q", "-u", "origin/main")
    base = await choose_base(await project.repository(), target="", prefix="tt", fetch=True)
    assert base is not None
    assert (base.upstream, base.problem, base.stale) == ("refs/remotes/origin/main", "", "")


async def test_agents_at_once_have_worktrees_apart(project: Project) -> None:
    worktrees, base = await project.worktrees(), await base_of(project)
    made: list[Worktree] = []

    async def make(number: int) -> None:
        made.append(await worktrees.open(f"agent{number}", f"t{number}", base))

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(make, number)
    assert len({worktree.path for worktree in made}) == len({worktree.admin for worktree in made}) == 8
    assert {worktree.record.task for worktree in worktrees.all()} == {f"t{number}" for number in range(8)}


@pytest.mark.parametrize("name", ["merged", "a..b", "x.lock", "dot.", "Task-1.0"])
async def test_any_name_of_an_agent_or_a_task_makes_a_branch(project: Project, name: str) -> None:
    project.git("branch", "tt/merged")
    _, worktree = await opened(project, name, name)
    assert project.git("symbolic-ref", "HEAD", cwd=worktree.path) == f"refs/heads/tt/{ref_word(name)}/{ref_word(name)}"


async def test_a_worktree_in_use_is_not_given_to_another_process(project: Project) -> None:
    worktrees = await project.worktrees()
    async with worktrees.lock("ada", "t1"):
        with pytest.raises(Refused, match="in use"):
            async with worktrees.lock("ada", "t1", wait_s=0.1):
                pass
        async with worktrees.lock("ada", "t2"):
            pass
    async with worktrees.lock("ada", "t1", wait_s=0):
        pass


# -- found again, with everything in it ------------------------------------------------------------------------


async def test_it_is_found_again_with_everything_in_it(project: Project) -> None:
    worktrees, worktree = await opened(project)
    (worktree.path / "README").write_text("changed\n")
    (worktree.path / "ignored.log").write_text("kept")
    project.git("add", "README", cwd=worktree.path)
    status = project.git("status", "--porcelain", cwd=worktree.path)
    _, again = await opened(project)
    assert again == worktree
    assert project.git("status", "--porcelain", cwd=worktree.path) == status
    assert (worktree.path / "ignored.log").exists()
    assert not await list_rescues(worktrees.repository)


async def test_what_a_killed_round_left_is_kept_before_anybody_goes_on(project: Project) -> None:
    worktrees, worktree = await opened(project)
    worktree.changed(in_round=True)
    (worktree.path / "half").write_text("done")
    await opened(project)
    (rescue,) = await list_rescues(worktrees.repository, "t1")
    assert project.git("show", f"{rescue.ref}:half") == "done"


DAMAGES = {
    "git worktree remove": "git -C ../../../project worktree remove --force --force $PWD",
    "rm of everything": "find . -mindepth 1 -delete",
    "rm of itself": "rm -rf $PWD",
    "rm of git's directory": 'rm -rf "$(git rev-parse --git-dir)"',
    "git worktree prune after a move": "mv $PWD ../away; cd ../../../project; git worktree unlock t1; git worktree prune",
    "its own repository": "rm .git && git init -q && git add -A && git commit -qm own",
    "another .git file": "echo gitdir: /nowhere > .git",
    "a damaged index": 'echo garbage > "$(git rev-parse --git-dir)/index"',
    "a lock of the index": 'touch -d "1 hour ago" "$(git rev-parse --git-dir)/index.lock"',
    "its branch deleted": "git update-ref -d refs/heads/tt/ada/t1",
    "a damaged HEAD": 'echo garbage > "$(git rev-parse --git-dir)/HEAD"',
    "another branch": "git checkout -q -b elsewhere",
    "git clean": "git clean -fdxq",
    "git stash": "git stash --all --quiet",
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_whatever_an_agent_does_to_its_worktree_its_commits_stay_and_it_works_again(
    project: Project, damage: str
) -> None:
    worktrees, worktree = await opened(project)
    commit = project.commit({"work": "done\n"}, cwd=worktree.path)
    await worktrees.snapshot(worktree, "the end of the round")
    person = project.look()[:4]
    project.sh("sh", "-c", DAMAGES[damage], cwd=worktree.path)
    _, again = await opened(project)
    assert project.git("rev-parse", "HEAD", cwd=again.path) == commit
    project.git("status", cwd=again.path)
    project.commit({"more": "work"}, cwd=again.path)
    assert commit in project.named_commits()
    assert project.look()[:4] == person


@pytest.mark.parametrize("damage", ["git worktree remove", "rm of itself", "rm of git's directory"])
async def test_uncommitted_work_of_a_destroyed_worktree_is_there_again(project: Project, damage: str) -> None:
    worktrees, worktree = await opened(project)
    (worktree.path / "README").write_text("half\n")
    (worktree.path / "new").write_text("half\n")
    await worktrees.snapshot(worktree, "the end of the round")
    project.sh("sh", "-c", DAMAGES[damage], cwd=worktree.path)
    _, again = await opened(project)
    assert project.git("status", "--porcelain", cwd=again.path).splitlines() == [" M README", "?? new"]


async def test_a_link_in_place_of_the_worktree_is_not_followed(project: Project) -> None:
    _, worktree = await opened(project)
    shutil.rmtree(worktree.path)
    worktree.path.symlink_to(project.root)
    before = project.look()
    _, again = await opened(project)
    assert not again.path.is_symlink()
    assert project.look() == before


# -- killed in the middle of being made ------------------------------------------------------------------------


@pytest.mark.parametrize("killed_at", ["before it begins", "branch made", "git's directory made", "files written"])
async def test_a_git_worktree_add_that_was_killed_is_done_again(
    project: Project, killed_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.commit({f"many/{number}": "x" * 100 for number in range(300)})
    worktrees, base = await project.worktrees(), await base_of(project)
    path = worktrees.path("ada", "t1")
    path.parent.mkdir(parents=True)
    command = ["git", "worktree", "add", "-q", "--lock", "--no-track", "-b", "tt/ada/t1", str(path), base.commit]
    reached = {
        "before it begins": lambda: True,
        "branch made": lambda: (project.root / ".git/refs/heads/tt/ada/t1").exists(),
        "git's directory made": lambda: (project.root / ".git/worktrees/t1/HEAD").exists(),
        "files written": lambda: (path / "many").exists(),
    }[killed_at]
    adding = spawn(*command, cwd=project.root)
    while adding.poll() is None and not reached():
        pass
    with suppress(ProcessLookupError):
        os.killpg(adding.pid, signal.SIGKILL)
    adding.wait()
    _, worktree = await opened(project)
    assert project.git("status", "--porcelain", cwd=worktree.path) == ""
    assert len(list((worktree.path / "many").iterdir())) == 300
    project.commit({"work": "x"}, cwd=worktree.path)
    assert [entry.name for entry in worktree.path.parent.iterdir() if "aside" in entry.name] == []


async def test_a_branch_that_was_begun_from_an_old_base_begins_from_the_fresh_one(project: Project) -> None:
    project.git("branch", "tt/ada/t1")
    tip = project.commit({"later": "x"})
    _, worktree = await opened(project)
    assert project.git("rev-parse", "HEAD", cwd=worktree.path) == tip


# -- removed -----------------------------------------------------------------------------------------------------


async def test_nothing_is_lost_when_a_worktree_is_removed(project: Project) -> None:
    worktrees, worktree = await opened(project)
    commit = project.commit({"work": "x"}, cwd=worktree.path)
    dropped = project.commit({"dropped": "x"}, cwd=worktree.path)
    project.git("reset", "-q", "--hard", "HEAD^", cwd=worktree.path)
    amended = project.commit({"amended": "x"}, cwd=worktree.path)
    project.git("commit", "-q", "--amend", "-m", "amended", cwd=worktree.path)
    for name in UNUSUAL:
        (worktree.path / name).write_text(name.encode("utf-8", "replace").decode())
    async with worktrees.lock("ada", "t1"):
        rescue = await worktrees.remove(worktree, "a test", branch=True)
    assert rescue is not None
    assert {commit, dropped, amended} <= project.named_commits()
    assert project.git("branch", "--list", "tt/*") == ""
    names = project.git("ls-tree", "-z", "--name-only", rescue.ref).split("\0")
    assert set(UNUSUAL) <= set(names)
    assert not worktree.path.exists()
    assert project.git("worktree", "list").count("\n") == 0
    assert list(worktree.path.parent.iterdir()) == []


async def test_a_worktree_whose_work_cannot_be_kept_is_not_removed(project: Project) -> None:
    worktrees, worktree = await opened(project)
    (worktree.path / "work").write_text("only here")
    objects = project.root / ".git" / "objects"
    shutil.move(objects, objects.with_name("objects-away"))
    objects.write_text("no directory")
    with pytest.raises(Exception, match="git"):
        async with worktrees.lock("ada", "t1"):
            await worktrees.remove(worktree, "a test", branch=True)
    assert (worktree.path / "work").read_text() == "only here"
    objects.unlink()
    shutil.move(objects.with_name("objects-away"), objects)


async def test_directories_that_nobody_may_write_are_removed_too(project: Project) -> None:
    worktrees, worktree = await opened(project)
    cache = worktree.path / "cache.log"
    cache.mkdir()
    (cache / "file").write_text("x")
    cache.chmod(0o500)
    async with worktrees.lock("ada", "t1"):
        await worktrees.remove(worktree, "a test", branch=True)
    assert not list(worktree.path.parent.iterdir())
