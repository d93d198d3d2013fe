"""The workspace in a town: the promises of the kit, and rounds in worktrees."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from tinytown.config import load_config
from tinytown.contracts import Failed, Finished, Outcome, Report, Round
from tinytown.errors import ConfigError
from tinytown.model.agents import Agent
from tinytown.plugin import load_plugins
from tinytown.town import Town
from tinytown_cli.public import DOCTOR_AGENT
from tinytown_git.gate import GitGate
from tinytown_git.housekeeping import Housekeeping
from tinytown_git.plugin import tinytown_round_environment
from tinytown_git.queue import MergeQueue
from tinytown_git.rescue import list_rescues
from tinytown_git.settings import Settings
from tinytown_git.workspace import GitWorkspace
from tinytown_testing import check_gate, check_service, check_workspace, open_sandbox
from tinytown_testing.scripted_backend import ScriptedBackend
from tinytown_testing.towns import TownDirectory

from .conftest import DEADLINE_S, Project, run_in_round, wait_for
from .test_worktrees import base_of

pytestmark = pytest.mark.usefixtures("deadline")


@pytest.fixture
def town(project: Project, town_dir: TownDirectory) -> TownDirectory:
    """A town whose root is a repository with one commit."""
    town_dir.configure("[plugins.git]\nfetch = false")
    moved = Project(town_dir.root, town_dir.root)
    moved.git("init", "-q")
    moved.commit({"README": "hello\n", ".gitignore": "*.log\n"}, "first")
    return town_dir


def project_of(town: TownDirectory) -> Project:
    return Project(town.root, Settings().worktrees_directory(town.root))


@asynccontextmanager
async def opened(town: TownDirectory) -> AsyncIterator[Town]:
    with trio.fail_after(DEADLINE_S):
        async with town.open() as opened:
            yield opened


async def test_workspace_services_and_gate_keep_their_promises(project: Project) -> None:
    async with open_sandbox() as sandbox:
        made = Project(sandbox.root, sandbox.base)
        made.git("init", "-q")
        made.git("-c", "user.name=a", "-c", "user.email=b", "commit", "-q", "--allow-empty", "-m", "first")
        settings = Settings(fetch=False, directory=str(sandbox.base / "worktrees"))
        (await check_workspace(lambda: GitWorkspace(settings, sandbox.root), sandbox=sandbox)).raise_if_broken()

        def workspace() -> GitWorkspace:
            return GitWorkspace(settings, sandbox.root)

        (await check_service(lambda: Housekeeping(settings, workspace()), sandbox=sandbox)).raise_if_broken()
        queue = MergeQueue(settings, sandbox.config, workspace())
        (await check_service(lambda: queue, sandbox=sandbox)).raise_if_broken()
        (await check_gate(lambda: GitGate(settings, sandbox.config, workspace()), sandbox=sandbox)).raise_if_broken()


async def test_tasks_at_once_do_not_see_each_other(town: TownDirectory, scripted_backend: ScriptedBackend) -> None:
    town.configure('[plugins.git]\nfetch = false\nmerge = "branch"')
    seen: dict[str, Path] = {}
    both = trio.Event()

    async def work(round_: Round, report: Report) -> Outcome:
        assert round_.task is not None
        name = round_.task.description
        seen[name] = round_.directory
        (round_.directory / name).write_text(name)
        if len(seen) == 2:
            both.set()
        await both.wait()
        run_in_round("git add -A && git commit -qm work", round_)
        return Finished(text="done")

    scripted_backend.script = work
    before = project_of(town).look()
    async with opened(town) as living:
        ada, ben = [await living.spawn(name) for name in ("ada", "ben")]
        tasks = [await ada.assign("one"), await ben.assign("two")]
        await living.wait_for_idle()
        states = [(await living.task(task.id)).state for task in tasks]
    assert states == ["completed", "completed"]
    project = project_of(town)
    assert project.look() == before
    for name, agent, task in zip(("one", "two"), ("ada", "ben"), tasks, strict=True):
        branch = f"tt/{agent}/{task.id}"
        assert project.git("show", "--format=%an", "--name-only", branch).split() == [agent, name]
        assert seen[name] == project.state / agent / task.id


async def test_what_a_failed_round_left_is_there_for_the_next(
    town: TownDirectory, scripted_backend: ScriptedBackend
) -> None:
    rounds: list[tuple[Path, list[str]]] = []

    async def work(round_: Round, report: Report) -> Outcome:
        rounds.append(
            (round_.directory, sorted(path.name for path in round_.directory.iterdir() if path.name != ".git"))
        )
        (round_.directory / f"half-{len(rounds)}").write_text("half")
        return Failed(reason="not yet") if len(rounds) == 1 else Finished(text="done")

    scripted_backend.script = work
    async with opened(town) as living:
        ada = await living.spawn("ada")
        task = await ada.assign("work")
        await living.wait_for_task(task.id)
        await ada.send("how did you do it?")
        await ada.wait_for_idle()
    assert [names for _, names in rounds] == [
        [".gitignore", "README", "tinytown.toml"],
        [".gitignore", "README", "half-1", "tinytown.toml"],
        [".gitignore", "README", "half-1", "half-2", "tinytown.toml"],
    ]
    assert len({directory for directory, _ in rounds}) == 1
    project = project_of(town)
    newest = (await list_rescues(await project.repository(), task.id))[0]
    assert project.git("ls-tree", "--name-only", newest.commit).split()[-4:-1] == ["half-1", "half-2", "half-3"]


async def test_a_killed_kernel_loses_nothing(town: TownDirectory, start_kernel: Any) -> None:
    town.configure(
        'default_cli = "writer"\n[plugins.git]\nfetch = false\n[agent_clis.writer]\n'
        'command = ["sh", "-c", "if [ -e half ]; then mv half whole; else echo x > half; sleep 600; fi"]'
    )
    project = project_of(town)
    kernel = start_kernel()
    with trio.fail_after(DEADLINE_S):
        async with town.connect() as living:
            ada = await living.spawn("ada")
            task = await ada.assign("write")
            worktree = project.state / "ada" / task.id
            await wait_for((worktree / "half").exists)
            kernel.kill()
            start_kernel()
            assert (await living.wait_for_task(task.id)).state == "completed"
    assert (worktree / "whole").exists()
    rescues = await list_rescues(await project.repository(), task.id)
    assert "half" in project.git("ls-tree", "--name-only", rescues[-1].commit).split()


async def test_it_is_made_ready_once(town: TownDirectory, scripted_backend: ScriptedBackend) -> None:
    (town.root / ".env").write_text("KEY=1")
    (town.root / "node_modules").mkdir()
    (town.root / "node_modules" / "module").write_text("x")
    (town.root / ".gitignore").write_text(".env\nnode_modules/\n*.log\n")
    project = project_of(town)
    project.commit({}, "ignore")
    town.configure(
        '[plugins.git]\nfetch = false\ncopy = [".env*", "nothing"]\nlink = ["node_modules"]\nport_base = 4000\n'
        'setup = "echo $PORT >> setup.log; echo said"'
    )
    found: list[list[str]] = []

    async def work(round_: Round, report: Report) -> Outcome:
        directory = round_.directory
        found.append([
            (directory / ".env").read_text(),
            (directory / "node_modules" / "module").read_text(),
            (directory / "setup.log").read_text(),
            run_in_round("git status --porcelain", round_),
            round_.environment["PORT"],
        ])  # fmt: skip
        return Failed(reason="once more") if len(found) == 1 else Finished(text="done")

    scripted_backend.script = work
    async with opened(town) as living:
        ada, ben = [await living.spawn(name) for name in ("ada", "ben")]
        first = await ada.assign("one")
        await living.wait_for_task(first.id)
        second = await ben.assign("two")
        await living.wait_for_task(second.id)
    assert found == [
        ["KEY=1", "x", "4000\n", "", "4000"],
        ["KEY=1", "x", "4000\n", "", "4000"],
        ["KEY=1", "x", "4001\n", "", "4001"],
    ]
    assert (project.state / "ada" / f"{first.id}.setup.log").read_text().strip() == "said"


async def test_a_setup_that_fails_says_what_it_said(town: TownDirectory, scripted_backend: ScriptedBackend) -> None:
    town.configure('[plugins.git]\nfetch = false\nsetup = "echo no such thing >&2; exit 3"', max_attempts=1)
    async with opened(town) as living:
        ada = await living.spawn("ada")
        task = await living.wait_for_task((await ada.assign("work")).id)
    assert task.state == "failed"
    assert "exit status 3: no such thing" in (task.reason or "")


async def test_without_commits_or_with_a_shared_workspace_agents_work_in_the_project(
    project: Project, town_dir: TownDirectory, scripted_backend: ScriptedBackend
) -> None:
    seen: list[Path] = []

    async def work(round_: Round, report: Report) -> Outcome:
        seen.append(round_.directory)
        return Finished(text="done")

    scripted_backend.script = work
    Project(town_dir.root, town_dir.root).git("init", "-q")
    for settings in ("fetch = false", 'workspace = "shared"'):
        town_dir.configure(f"[plugins.git]\n{settings}")
        async with opened(town_dir) as living:
            ada = await living.spawn("ada") if not seen else await living.agent("ada")
            assert (await living.wait_for_task((await ada.assign("work")).id)).state == "completed"
        Project(town_dir.root, town_dir.root).commit({"a": "b"})
    assert seen == [town_dir.root, town_dir.root]


@pytest.mark.parametrize(("name", "claimed"), [("ada", True), (DOCTOR_AGENT, False)])
def test_the_test_task_of_the_doctor_leaves_no_branch(town: TownDirectory, name: str, claimed: bool) -> None:
    agent = Agent(id="1", name=name, cli="echo")
    assert GitWorkspace(Settings(), town.root).claims(agent, None) is claimed


def test_the_author_of_what_an_agent_commits_is_chosen(project: Project) -> None:
    class Ada:
        name = "ada"

    agent: Any = Ada()
    variables = tinytown_round_environment(agent, None, Settings(), project.root)
    assert variables["GIT_AUTHOR_NAME"] == variables["GIT_COMMITTER_NAME"] == "ada"
    assert tinytown_round_environment(agent, None, Settings(identity="person"), project.root) == {}


@pytest.mark.parametrize(
    "wrong", ['copy = ["../x"]', 'link = ["/etc"]', 'branch_prefix = "a b"', 'copy = [".git/config"]']
)
def test_settings_that_cannot_be_meant_are_refused(town_dir: TownDirectory, wrong: str) -> None:
    town_dir.configure(f"[plugins.git]\n{wrong}")
    with pytest.raises(ConfigError, match=r"expected .* at plugins.git"):
        load_plugins(load_config(town_dir.root), town_dir.root)


def test_tasks_with_worktrees_of_their_own_share_no_round(town: TownDirectory) -> None:
    for workspace in ("worktree", "shared"):
        town.configure(f'[batch]\nkinds = {{ scripted = 2 }}\n[plugins.git]\nworkspace = "{workspace}"')
        if workspace == "worktree":
            with pytest.raises(ConfigError, match="share one directory"):
                load_plugins(load_config(town.root), town.root)
        else:
            load_plugins(load_config(town.root), town.root)


@pytest.mark.parametrize("name", ["refs/tinytown/rescue/t1/20260101T000000.000000Z.lock", "objects/maintenance.lock"])
async def test_housekeeping_removes_locks_that_a_killed_git_left(project: Project, name: str) -> None:
    lock = project.root / ".git" / name
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    past = time.time() - 3600
    os.utime(lock, (past, past))
    settings = Settings(fetch=False, directory=str(project.state))
    await Housekeeping(settings, GitWorkspace(settings, project.root)).sweep(await project.worktrees())
    assert not lock.exists()


async def test_worktrees_of_finished_tasks_go_when_they_hold_nothing(project: Project) -> None:
    settings = Settings(fetch=False, directory=str(project.state))
    workspace = GitWorkspace(settings, project.root)
    worktrees = await workspace.worktrees()
    made = {}
    for task in ("merged", "unmerged", "dirty", "open", "latest"):
        made[task] = await worktrees.open("ada", task, await base_of(project))
        if task in ("merged", "unmerged"):
            project.commit({task: "x"}, cwd=made[task].path)
        if task != "open":
            made[task] = made[task].changed(settled="completed")
    (made["dirty"].path / "left").write_text("x")
    project.git("merge", "-q", made["merged"].record.branch)
    await Housekeeping(settings, workspace).sweep(worktrees)
    assert {worktree.record.task for worktree in worktrees.all()} == {"unmerged", "dirty", "open", "latest"}
    branches = project.git("branch", "--format=%(refname:short)").split()
    assert sorted(branches) == ["main", "tt/ada/dirty", "tt/ada/latest", "tt/ada/open", "tt/ada/unmerged"]
