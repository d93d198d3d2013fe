"""Merges in the object store, and branches that are moved: below a checkout, in one, and when that is cut off."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

import pytest
import trio
from tinytown_git.advance import Blocked, advance, recover
from tinytown_git.git import GitFailed
from tinytown_git.merging import Conflict, Strategy, combine, describe_conflict

from .conftest import Project

MAIN = "refs/heads/main"


def branch(project: Project, name: str, files: dict[str, str], *, start: str = "main", message: str = "") -> str:
    """A commit on a new branch, made in a worktree of its own."""
    place = project.state / f"making-{name}"
    project.git("worktree", "add", "-q", "-b", name, str(place), start)
    commit = project.commit(files, message or f"work on {name}", cwd=place)
    project.git("worktree", "remove", "--force", str(place))
    return commit


# -- merges ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["merge", "rebase", "squash"])
async def test_work_is_merged_without_touching_a_file_or_a_ref(project: Project, strategy: Strategy) -> None:
    one, two = branch(project, "one", {"one": "1"}), branch(project, "two", {"two": "2"})
    repository, before = await project.repository(), (project.look(), project.git("show-ref"))
    merged = await combine(repository, one, two, strategy, "Merge two\n")
    assert isinstance(merged, str)
    assert project.git("ls-tree", "--name-only", merged).split() == [".gitignore", "README", "one", "two"]
    parents = project.git("show", "-s", "--format=%P", merged).split()
    assert parents == ([one, two] if strategy == "merge" else [one])
    said = project.git("show", "-s", "--format=%s/%an", merged)
    assert said == {"merge": "Merge two/Ann", "squash": "Merge two/Ann", "rebase": "work on two/Ann"}[strategy]
    assert (project.look(), project.git("show-ref")) == before
    assert await combine(repository, merged, two, strategy, "again") == merged


async def test_a_rebase_keeps_authors_dates_and_messages_and_merges_branches_that_hold_merges(project: Project) -> None:
    place = project.state / "side"
    project.git("worktree", "add", "-q", "-b", "side", str(place), "main")
    author = "--author=Zoë <zoe@example.org>"
    for number in range(3):
        (place / f"file{number}").write_text("x")
        project.git("add", "-A", cwd=place)
        project.git(
            "commit", "-q", author, "--date=2020-01-02T03:04:05+0600", "-m", f"part {number}\n\nbody", cwd=place
        )
    tip = project.git("rev-parse", "HEAD", cwd=place)
    onto = project.commit({"other": "y"})
    repository = await project.repository()
    rebased = await combine(repository, onto, tip, "rebase", "unused")
    assert isinstance(rebased, str)
    lines = project.git("log", "--format=%an %ad %s %b", "--date=iso-strict", f"{onto}..{rebased}").split("\n")
    assert [line for line in lines if line] == [f"Zoë 2020-01-02T03:04:05+06:00 part {n} body" for n in (2, 1, 0)]
    project.git("merge", "-q", "--no-edit", "main", cwd=place)
    merged = await combine(repository, onto, "side", "rebase", "Merge side\n")
    assert project.git("show", "-s", "--format=%P", str(merged)).split() == [onto, project.git("rev-parse", "side")]


async def test_a_conflict_names_the_files_and_both_sides(project: Project) -> None:
    project.commit({"shared file": "a\n", "-other": "a\n"})
    one = branch(project, "one", {"shared file": "b\n", "-other": "b\n", "free": "x"}, message="Ben was here")
    two = branch(project, "two", {"shared file": "c\n", "-other": "c\n"}, message="Ada was here")
    repository = await project.repository()
    for strategy in ("merge", "rebase", "squash"):
        conflict = await combine(repository, one, two, strategy, "m")
        assert isinstance(conflict, Conflict)
        assert set(conflict.files) == {"-other", "shared file"}
    text = await describe_conflict(repository, conflict, one, "main", two, "tt/ada/t1")
    assert "conflicts in -other, shared file" in text
    assert "On main:\n  " in text
    assert "Ann: Ben was here" in text
    assert "Ann: Ada was here" in text
    assert "git merge main" in text


async def test_histories_without_a_common_commit_are_a_conflict(project: Project) -> None:
    project.git("switch", "-q", "--orphan", "other")
    other = project.commit({"other": "x"})
    project.git("switch", "-q", "main")
    for strategy in ("merge", "rebase"):
        conflict = await combine(await project.repository(), project.git("rev-parse", "main"), other, strategy, "m")
        assert isinstance(conflict, Conflict)
        assert conflict.reason == "they have no commit in common"


async def test_unusual_names_and_missing_identities_are_merged(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.git("config", "core.precomposeunicode", "false")
    names = {"new\nline": "1", "-dash": "2", os.fsdecode(b"\xff\xfe"): "3"}
    one, two = branch(project, "one", names), branch(project, "two", {"two": "2"})
    monkeypatch.setenv("HOME", "/nonexistent")
    merged = await combine(await project.repository(), one, two, "merge", "m")
    assert project.git("show", "-s", "--format=%an <%ae>", str(merged)) == "Tinytown <tinytown@localhost>"
    listed = project.git("ls-tree", "-z", "--name-only", str(merged)).split("\0")
    assert set(names) <= set(listed)


# -- moving a branch --------------------------------------------------------------------------------------------


async def moved(project: Project, branch: str, old: str, new: str) -> object:
    repository = await project.repository()
    worktrees = project.state / "agents"
    return await advance(repository, branch, old, new, journal=project.state / "advance.json", worktrees=worktrees)


def nothing_is_left(project: Project) -> bool:
    left = [path for path in (project.root / ".git").glob("*index*") if path.name != "index"]
    return not left and not (project.state / "advance.json").exists()


async def test_a_branch_that_is_checked_out_nowhere_is_moved_as_a_ref(project: Project) -> None:
    tip = project.git("rev-parse", "main")
    new = branch(project, "one", {"one": "1"})
    project.git("branch", "other")
    before = project.look()
    assert await moved(project, "refs/heads/other", tip, new) == "moved"
    assert await moved(project, "refs/heads/other", tip, new) == "elsewhere"
    assert project.git("rev-parse", "other") == new
    assert project.look() == before


async def test_a_branch_that_is_checked_out_is_moved_with_its_checkout(project: Project) -> None:
    tip = project.commit({"kept": "1\n", "changed": "1\n", "removed/file": "1\n"})
    place = project.state / "making"
    project.git("worktree", "add", "-q", "-b", "one", str(place), "main")
    (place / "removed" / "file").unlink()
    new = project.commit({"changed": "2\n", "added/file": "2\n"}, cwd=place)
    (project.root / "kept").write_text("edited\n")
    (project.root / "mine").write_text("untracked\n")
    project.git("add", "kept")
    assert await moved(project, MAIN, tip, new) == "moved"
    assert project.git("rev-parse", "HEAD", "main").split() == [new, new]
    assert project.git("status", "--porcelain").splitlines() == ["M  kept", "?? mine"]
    assert (project.root / "added" / "file").read_text() == (project.root / "changed").read_text() == "2\n"
    assert not (project.root / "removed").exists()
    assert project.git("reflog", "-1", "--format=%gs") == "Tinytown: merge"
    assert nothing_is_left(project)


OBSTACLES: dict[str, Callable[[Project], object]] = {
    "an edited file": lambda project: (project.root / "README").write_text("edited\n"),
    "a staged file": lambda project: (project.root / "README").write_text("x\n") and project.git("add", "README"),
    "an untracked file": lambda project: (project.root / "added").write_text("mine\n"),
    "an ignored file": lambda project: (
        (project.root / "added").write_text("mine\n"),
        (project.root / ".git" / "info" / "exclude").write_text("added\n"),
    ),
    "a merge under way": lambda project: (project.root / ".git" / "MERGE_HEAD").write_text("x"),
    "a lock of the index": lambda project: (project.root / ".git" / "index.lock").touch(),
    "a second checkout": lambda project: project.git(
        "worktree", "add", "-q", "--force", str(project.state / "second"), "main"
    ),
}


@pytest.mark.parametrize("obstacle", OBSTACLES)
async def test_what_a_person_has_not_committed_is_never_touched(project: Project, obstacle: str) -> None:
    tip = project.git("rev-parse", "main")
    new = branch(project, "one", {"README": "new\n", "added": "new\n"})
    OBSTACLES[obstacle](project)
    lock = project.root / ".git" / "index.lock"
    held = lock.exists()
    files = {path: path.read_bytes() for path in project.root.iterdir() if path.is_file()}
    assert isinstance(await moved(project, MAIN, tip, new), Blocked)
    assert {path: path.read_bytes() for path in project.root.iterdir() if path.is_file()} == files
    assert project.git("rev-parse", "main") == tip
    assert lock.exists() == held
    lock.unlink(missing_ok=True)
    assert nothing_is_left(project)


async def test_a_branch_that_an_agent_has_checked_out_is_not_moved(project: Project) -> None:
    tip = project.git("rev-parse", "main")
    new = branch(project, "one", {"one": "1"})
    project.git("switch", "-q", "--detach")
    project.git("worktree", "add", "-q", str(project.state / "agents" / "ada" / "t1"), "main")
    assert isinstance(await moved(project, MAIN, tip, new), Blocked)


async def test_a_person_who_has_switched_away_is_left_alone(project: Project) -> None:
    tip = project.git("rev-parse", "main")
    new = branch(project, "one", {"one": "1"})
    project.git("switch", "-qc", "feature")
    before = project.look()
    assert await moved(project, MAIN, tip, new) == "moved"
    assert project.look() == before


# -- cut off ------------------------------------------------------------------------------------------------------

KILLED = """
import os, sys, trio
from pathlib import Path
from tinytown_git import advance, git
from tinytown_git.repository import find_repository

root, branch, old, new, journal, point = sys.argv[1:]
replace, call = Path.replace, git.Git.__call__

def die(*_):
    os.kill(os.getpid(), 9)

async def run(self, *words, **options):
    if point == "before the files" and words[:2] == ("read-tree", "-m"):
        die()
    if point == "in the files" and words[:2] == ("read-tree", "-m"):
        result = await call(self, *words, **options)
        (Path(root) / "half").write_text("wh")
        (Path(root) / "README").write_text("old\\n")
        die()
    result = await call(self, *words, **options)
    if point == "after the files" and words[:2] == ("read-tree", "-m"):
        die()
    if point == "after the ref" and words[0] == "update-ref":
        die()
    return result

git.Git.__call__ = run
if point == "after the index":
    Path.replace = lambda self, other: (replace(self, other), die())

async def main():
    repository = await find_repository(Path(root))
    await advance.advance(repository, branch, old, new, journal=Path(journal), worktrees=Path("/nonexistent"))

trio.run(main)
"""


@pytest.mark.parametrize(
    "point", ["before the files", "in the files", "after the files", "after the ref", "after the index"]
)
@pytest.mark.parametrize("edited", [False, True])
async def test_a_kernel_that_is_killed_while_it_moves_a_checkout_leaves_no_half(
    project: Project, point: str, edited: bool
) -> None:
    tip = project.commit({"README": "old\n", "gone": "old\n"})
    place = project.state / "making"
    project.git("worktree", "add", "-q", "-b", "one", str(place), "main")
    (place / "gone").unlink()
    new = project.commit({"README": "new\n", "half": "whole\n", "deep/er": "new\n"}, cwd=place)
    journal = project.state / "advance.json"
    command = [sys.executable, "-c", KILLED, str(project.root), MAIN, tip, new, str(journal), point]
    ended = await trio.run_process(command, check=False, capture_stderr=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    if edited:
        (project.root / "deep").mkdir(exist_ok=True)
        (project.root / "deep" / "er").write_text("edited since\n")
    assert await recover(await project.repository(), journal)
    assert nothing_is_left(project)
    assert project.git("rev-parse", "HEAD") == new
    assert project.git("status", "--porcelain").splitlines() == ([" M deep/er"] if edited else [])
    assert (project.root / "half").read_text() == "whole\n"
    assert await recover(await project.repository(), journal)


async def test_a_git_that_is_killed_while_it_moves_a_checkout_is_no_obstacle_afterwards(project: Project) -> None:
    """A filter that writes the files kills the git that has asked for it."""
    tip = project.git("rev-parse", "main")
    files = {f"file{number}": f"{number}\n" for number in range(5)}
    new = branch(project, "one", {**files, ".gitattributes": "file* filter=deadly\n"})
    project.git("config", "filter.deadly.smudge", "test -z $(ls file2 2>/dev/null) || kill -9 $PPID; cat")
    with pytest.raises(GitFailed, match="git read-tree: exit status -9"):
        await moved(project, MAIN, tip, new)
    assert 0 < len(list(project.root.glob("file*"))) < 5
    assert not (project.root / ".git" / "index.lock").exists()
    project.git("config", "filter.deadly.smudge", "cat")
    assert await recover(await project.repository(), project.state / "advance.json")
    assert project.git("status", "--porcelain") == ""
    assert project.git("rev-parse", "HEAD") == new
    assert {name: (project.root / name).read_text() for name in files} == files
