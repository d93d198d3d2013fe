"""Repositories as people have them, and what goes wrong in the middle: work arrives, or is kept, and nothing blocks."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from tinytown.contracts import Finished, Outcome, Report, Round
from tinytown_git.work import Records
from tinytown_testing.scripted_backend import ScriptedBackend
from tinytown_testing.towns import KernelStarter, TownDirectory

from .conftest import DEADLINE_S, Project, run_in_round
from .test_workspace import opened, project_of, town

__all__ = ["town"]

pytestmark = pytest.mark.usefixtures("deadline")

HANGING = "#!/bin/sh\nsleep 600\n"


def with_hooks(project: Project) -> None:
    hooks = project.root / "own-hooks"
    hooks.mkdir()
    for name in ("post-checkout", "pre-commit", "commit-msg", "post-merge", "pre-rebase", "reference-transaction"):
        for place in (hooks, project.root / ".git" / "hooks"):
            (place / name).write_text(HANGING)
            (place / name).chmod(0o755)


def set_hooks(project: Project) -> None:
    project.git("config", "core.hooksPath", str(project.root / "own-hooks"))


def with_submodule(project: Project) -> None:
    library = project.state.parent / "library"
    library.mkdir(parents=True)
    project.git("init", "-q", cwd=library)
    project.commit({"lib": "1"}, cwd=library)
    project.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(library), "lib")
    project.commit({}, "with a submodule")


def with_lfs(project: Project) -> None:
    project.git("config", "filter.lfs.clean", "sed s/^/pointer:/")
    project.git("config", "filter.lfs.smudge", "sed s/^pointer://")
    project.commit({".gitattributes": "*.big filter=lfs\n", "a.big": "content\n"}, "with lfs")


def sparse(project: Project) -> None:
    project.commit({"inside/a": "1", "outside/b": "1"})
    project.git("sparse-checkout", "set", "inside")


def many_files(project: Project) -> None:
    for number in range(10_000):
        path = project.root / f"many/{number % 100}/{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(number))
    project.commit({}, "many")


#: What a repository may be like -> how to make it so, before the town works, and after its first commit.
CONDITIONS: dict[str, Callable[[Project], object]] = {
    "hooks that hang": lambda project: (with_hooks(project), set_hooks(project)),
    "signing that fails": lambda project: [
        project.git("config", key, value)
        for key, value in {"commit.gpgSign": "true", "gpg.program": "/bin/false", "tag.gpgSign": "true"}.items()
    ],
    "a submodule": with_submodule,
    "pointers of LFS": with_lfs,
    "a sparse checkout": sparse,
    "packed refs": lambda project: project.git("pack-refs", "--all"),
    "a split index": lambda project: project.git("update-index", "--split-index"),
    "settings of worktrees": lambda project: (
        project.git("config", "extensions.worktreeConfig", "true"),
        project.git("config", "--worktree", "core.bare", "false"),
    ),
    "line ends": lambda project: (
        project.git("config", "core.autocrlf", "true"),
        project.commit({".gitattributes": "*.txt text eol=crlf\n", "a.txt": "a\r\nb\r\n"}),
    ),
    "unusual names": lambda project: project.commit(
        {"new\nline": "1", "-dash": "2", os.fsdecode(b"not-utf8-\xff"): "3", "Case": "4", "case": "5", " blank ": "6"}
    ),
    "no identity": lambda project: [
        project.git("config", "--global", "--unset", f"user.{k}") for k in ("name", "email")
    ],
    "ten thousand files": many_files,
    "a branch with slashes": lambda project: project.git("switch", "-qc", "feature/of/ann"),
}


def project_in(town: TownDirectory, kind: str) -> Project:
    """The repository of a town whose root is of that kind, with a branch ``main`` that has a commit."""
    project = project_of(town)
    if kind == "a bare repository":
        shutil.rmtree(project.root / ".git")
        source = project.state.parent / "source"
        source.mkdir(parents=True)
        project.git("init", "-q", cwd=source)
        project.commit({"README": "hello\n"}, cwd=source)
        (project.root / "README").unlink()
        (project.root / ".gitignore").unlink()
        project.git("clone", "-q", "--bare", str(source), str(project.state.parent / "bare"))
        for path in (project.state.parent / "bare").iterdir():
            path.rename(project.root / path.name)
    elif kind == "a worktree of another":
        shutil.rmtree(project.root / ".git")
        elsewhere = project.state.parent / "elsewhere"
        elsewhere.mkdir(parents=True)
        project.git("init", "-q", cwd=elsewhere)
        project.commit({"README": "hello\n"}, cwd=elsewhere)
        project.git("switch", "-qc", "other", cwd=elsewhere)
        made = project.state.parent / "made"
        project.git("worktree", "add", "-q", str(made), "main", cwd=elsewhere)
        (made / ".git").rename(project.root / ".git")
        project.git("worktree", "repair", str(project.root), cwd=elsewhere)
        project.git("reset", "-q", "--hard")
    elif kind == "a detached HEAD":
        project.git("switch", "-q", "--detach")
    return project


@pytest.mark.parametrize("kind", ["a bare repository", "a worktree of another", "a detached HEAD"])
async def test_work_is_merged_wherever_the_town_lies(
    town: TownDirectory, scripted_backend: ScriptedBackend, kind: str
) -> None:
    project = project_in(town, kind)

    async def work(round_: Round, report: Report) -> Outcome:
        await trio.to_thread.run_sync(run_in_round, "echo changed > README; git commit -qam work", round_)
        return Finished(text="done")

    scripted_backend.script = work
    async with opened(town) as living:
        ada = await living.spawn("ada")
        task = await living.wait_for_task((await ada.assign("work")).id)
        assert task.state == "completed", task.reason
        said = await living.run(living.operations.plugin_field("git", "notice"))
    if kind == "a detached HEAD":  # there is no branch to merge into: it is kept, and the person sees where
        assert project.git("show", "tt/merged:README") == "changed"
        assert (project.root / "README").read_text() == "hello\n"
        assert "merged work waits on tt/merged" in (said or "")
    else:
        assert project.git("show", "main:README") == "changed"
        assert said is None
    if kind == "a worktree of another":
        assert (project.root / "README").read_text() == "changed\n"
        assert project.git("status", "--porcelain", "--untracked-files=no") == ""


async def test_a_remote_whose_history_was_rewritten_is_no_obstacle(
    town: TownDirectory, scripted_backend: ScriptedBackend, tmp_path: Path
) -> None:
    """The upstream is fetched, what is merged stays the person's, and nothing is pushed to a remote that rejects everything."""
    town.configure("[plugins.git]")
    project, origin = project_of(town), tmp_path / "origin"
    project.commit({}, "settings")
    project.git("clone", "-q", "--bare", str(project.root), str(origin))
    project.git("remote", "add", "origin", str(origin))
    project.git("fetch", "-q")
    project.git("branch", "-q", "-u", "origin/main")
    hook = origin / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\ntouch pushed\nexit 1\n")
    hook.chmod(0o755)

    async def work(round_: Round, report: Report) -> Outcome:
        assert round_.task is not None
        name = round_.task.description
        await trio.to_thread.run_sync(run_in_round, f"echo {name} > {name}; git add -A; git commit -qm {name}", round_)
        return Finished(text="done")

    scripted_backend.script = work
    async with opened(town) as living:
        ada = await living.spawn("ada")
        for name in ("one", "two"):
            assert (await living.wait_for_task((await ada.assign(name)).id)).state == "completed"
            rewritten = project.git("commit-tree", "-m", "rewritten", "main^{tree}", cwd=origin)
            project.git("update-ref", "refs/heads/main", rewritten, cwd=origin)
    assert set(project.git("ls-tree", "--name-only", "main").split()) >= {"one", "two"}
    assert not (origin / "pushed").exists()


@pytest.mark.parametrize("condition", CONDITIONS)
async def test_work_arrives_in_any_repository(
    town: TownDirectory, scripted_backend: ScriptedBackend, condition: str
) -> None:
    project = project_of(town)
    CONDITIONS[condition](project)
    branch = project.git("branch", "--show-current")
    before = project.git("status", "--porcelain")

    async def work(round_: Round, report: Report) -> Outcome:
        assert round_.task is not None
        name = round_.task.description
        await trio.to_thread.run_sync(run_in_round, f"echo '{name}' > 'made by {name}'; echo {name} > README", round_)
        return Finished(text="done")

    scripted_backend.script = work
    async with opened(town) as living:
        ada = await living.spawn("ada")
        for name in ("one", "two"):
            task = await living.wait_for_task((await ada.assign(name)).id)
            assert task.state == "completed", task.reason
    assert project.git("show", f"{branch}:made by two") == "two"
    assert (project.root / "README").read_text().strip() == "two"
    assert project.git("status", "--porcelain") == before
    project.git("fsck", "--strict", "--connectivity-only")


WRAPPER = """#!/bin/sh
# Kills the git that the town runs, now and then, some milliseconds after its start; what agents run is left alone.
exec 3<&0
case "$*" in *core.hooksPath=/dev/null*)
    number=$(od -An -N1 -tu1 /dev/urandom)
    if [ "$number" -lt 6 ]; then
        {git} "$@" <&3 3<&- &
        sleep "0.00$((number % 8))"
        kill -9 $! 2>/dev/null && wait $! 2>/dev/null
        exit 137
    fi
esac
exec {git} "$@" <&3 3<&-
"""


async def test_git_may_be_killed_at_any_time(
    town: TownDirectory, scripted_backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    git = shutil.which("git")
    assert git is not None
    wrapper = tmp_path / "git"
    wrapper.write_text(WRAPPER.replace("{git}", git))
    wrapper.chmod(0o755)
    project, path = project_of(town), os.environ["PATH"]
    commits = set[str]()

    async def work(round_: Round, report: Report) -> Outcome:
        assert round_.task is not None
        name = round_.task.description
        commit = f"echo {name} > {name}; git add -A; git commit -q --allow-empty -m {name}; git rev-parse HEAD"
        script = f"PATH={path}; {commit}; echo x > loose-{name}"
        commits.update((await trio.to_thread.run_sync(run_in_round, script, round_)).split())
        return Finished(text="done")

    scripted_backend.script = work
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{path}")
    async with opened(town) as living:
        agents = [await living.spawn(f"agent{number}") for number in range(3)]
        tasks = [await agent.assign(f"t{agent.name}-{number}") for number in range(3) for agent in agents]
        done = [await living.wait_for_task(task.id) for task in tasks]
    monkeypatch.setenv("PATH", path)
    assert commits - project.named_commits() == set()
    names = set(project.git("ls-tree", "--name-only", "main").split())
    for task in done:
        if task.state == "completed":
            assert {task.description, f"loose-{task.description}"} <= names
    assert project.git("status", "--porcelain") == ""
    assert not list((project.root / ".git").glob("*.lock"))
    project.git("fsck", "--strict")


@pytest.mark.deadline_s(150)
async def test_a_kernel_that_is_killed_again_and_again_merges_everything(
    town: TownDirectory, start_kernel: KernelStarter
) -> None:
    town.configure(
        'default_cli = "writer"\n[plugins.git]\nfetch = false\n[plugins.git.checks]\ntest = "sleep 0.1"\n'
        '[agent_clis.writer]\ncommand = ["sh", "-c", '
        "'name=$(grep -o \"task-[0-9]*\" | head -1); echo $name > $name; git add -A; git commit -qm $name; echo x > more-$name']",
        max_attempts=20,
    )
    project, chance = project_of(town), random.Random(7)
    project.commit({}, "settings")
    async with town.connect() as living:
        agents = [await living.spawn(f"agent{number}") for number in range(3)]
        tasks = [await agent.assign(f"task-{number}{agent.name[-1]}") for number in range(3) for agent in agents]
        kernel = start_kernel()
        for _ in range(6):
            await trio.sleep(chance.uniform(0.3, 2.5))
            kernel.kill()
            kernel.start()
        with trio.fail_after(DEADLINE_S):
            states = [(await living.wait_for_task(task.id)).state for task in tasks]
        works, _ = await Records(living.operations, living.run).all()
    assert states == ["completed"] * 9
    names = set(project.git("ls-tree", "--name-only", "main").split())
    assert {name for task in tasks for name in (task.description, f"more-{task.description}")} <= names
    assert {work.commit for work in works} <= project.named_commits()
    assert project.git("status", "--porcelain") == ""
    assert project.locks() == []
    assert not (project.state / "advance.json").exists()
    project.git("fsck", "--strict")


async def test_a_garbage_collection_and_a_prune_at_a_bad_moment_cost_nothing(
    town: TownDirectory, scripted_backend: ScriptedBackend
) -> None:
    project = project_of(town)

    async def work(round_: Round, report: Report) -> Outcome:
        assert round_.task is not None
        script = f"echo x > {round_.task.description}; git worktree prune; git gc -q --prune=now || true"
        await trio.to_thread.run_sync(run_in_round, script, round_)
        return Finished(text="done")

    async def collect() -> None:
        while True:
            await trio.run_process(["git", "gc", "-q", "--prune=now"], cwd=project.root, check=False)
            await trio.run_process(["git", "worktree", "prune"], cwd=project.root, check=False)
            await trio.sleep(0.05)

    scripted_backend.script = work
    async with opened(town) as living, trio.open_nursery() as nursery:
        nursery.start_soon(collect)
        agents = [await living.spawn(f"agent{number}") for number in range(3)]
        tasks = [await agent.assign(f"t{number}") for number, agent in enumerate(agents)]
        states = [(await living.wait_for_task(task.id)).state for task in tasks]
        nursery.cancel_scope.cancel()
    assert states == ["completed"] * 3
    assert {"t0", "t1", "t2"} <= set(project.git("ls-tree", "--name-only", "main").split())
    project.git("fsck", "--strict")


ABUSES = {
    "a hard reset": "git reset -q --hard main",
    "another branch": "git switch -qc mine; echo mine > mine; git add -A; git commit -qm mine",
    "an amended commit": "git commit -q --amend -m amended",
    "a deleted branch": "git switch -q --detach; git branch -qD tt/ada/*; git branch -qD $(git branch --list 'tt/*') ",
    "a stash": "echo dirty > dirty; git stash -q --all",
    "a removed worktree": 'git worktree remove --force --force "$PWD"; cd /',
    "a clean": "git clean -fdxq",
    "a forced push": "git push -q --force . HEAD:main HEAD:refs/heads/tt/merged",
    "a forced push to the remote": "git push -q --force origin HEAD:main :refs/heads/other",
    "another task's branch deleted": "git branch -qD $(git branch --list 'tt/*' --format '%(refname:short)')",
    "everything at once": "git reset -q --hard main; git clean -fdxq; git stash clear; "
    "git gc -q --prune=now; git worktree prune",
    "a rebase under way": "GIT_SEQUENCE_EDITOR='sed -i s/pick/edit/' git rebase -qi HEAD^",
}


@pytest.mark.parametrize("abuse", ABUSES)
async def test_whatever_an_agent_does_with_git_its_commits_are_on_a_ref_and_the_town_goes_on(
    town: TownDirectory, scripted_backend: ScriptedBackend, abuse: str
) -> None:
    town.configure("[plugins.git]\nfetch = false", max_attempts=2)
    project, commits = project_of(town), set[str]()
    project.git("init", "-q", "--bare", str(project.state.parent / "origin.git"))
    project.git("remote", "add", "origin", str(project.state.parent / "origin.git"))
    project.git("push", "-q", "origin", "main", "main:other")

    async def work(round_: Round, report: Report) -> Outcome:
        assert round_.task is not None
        name = round_.task.description
        commit = f"echo {name} > work; git add -A; git commit -q --allow-empty -m {name}; git rev-parse HEAD"
        commits.update((await trio.to_thread.run_sync(run_in_round, commit, round_)).split())
        if name == "abuse":
            await trio.to_thread.run_sync(run_in_round, f"set +e\n{ABUSES[abuse]}\ntrue", round_)
        return Finished(text="done")

    scripted_backend.script = work
    async with opened(town) as living:
        ada = await living.spawn("ada")
        first = await living.wait_for_task((await ada.assign("abuse")).id)
        second = await living.wait_for_task((await ada.assign("good")).id)
    assert first.finished
    assert second.state == "completed", second.reason
    assert commits - project.named_commits() == set()
    assert project.git("show", "main:work") == "good"
    assert project.git("status", "--porcelain") == " M tinytown.toml"


async def test_a_repository_that_goes_away_and_comes_back(
    town: TownDirectory, scripted_backend: ScriptedBackend
) -> None:
    project, away = project_of(town), town.root / "git-away"

    async def work(round_: Round, report: Report) -> Outcome:
        await trio.to_thread.run_sync(run_in_round, "echo x > work", round_)
        return Finished(text="done")

    scripted_backend.script = work
    async with opened(town) as living:
        ada = await living.spawn("ada")
        assert (await living.wait_for_task((await ada.assign("one")).id)).state == "completed"
        (town.root / ".git").rename(away)
        assert (await living.wait_for_task((await ada.assign("two")).id)).state == "completed"  # in the project itself
        (town.root / "work").unlink()
        away.rename(town.root / ".git")
        assert (await living.wait_for_task((await ada.assign("three")).id)).state == "completed"
    assert project.git("show", "main:work") == "x"


def test_the_plugin_runs_without_being_imported_at_start() -> None:
    code = "import sys, tinytown_git.plugin; print([n for n in sys.modules if n.startswith('tinytown_git.q')])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=DEADLINE_S)
    assert said.stdout.strip() == "[]"
