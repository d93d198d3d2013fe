"""The workspace and the gate `branches`: a worktree for each task, merged once the task is completed and its tests pass."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tinytown.contracts import Disposition, Gate, Purpose, Verdict, WorkContext, Workspace
from tinytown.hookspecs import hookimpl
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown.process import Exit
from tinytown.state import state_directory

TINYTOWN_HOOK_API = 2


@hookimpl
def tinytown_workspaces(root: Path) -> list[Workspace]:
    return [Branches(root)]


@hookimpl
def tinytown_gates(root: Path) -> list[Gate]:
    return [Clean(root)]


async def git(work: WorkContext, directory: Path, *words: str) -> Exit:
    person = ("-c", "user.name=town", "-c", "user.email=town@localhost")
    return await work.processes.run(["git", *person, *words], cwd=directory, env=work.environment, timeout_s=60.0)


class Branches(Workspace):
    name = "branches"

    def __init__(self, root: Path) -> None:
        self.root = root

    def claims(self, agent: Agent, task: Task | None) -> bool:
        return (self.root / ".git").exists()

    @asynccontextmanager
    async def open(self, work: WorkContext, purpose: Purpose) -> AsyncGenerator[Path]:
        directory = state_directory(self.root) / "branches" / (work.task.id if work.task else work.agent.id)
        if not (directory / ".git").exists():
            directory.parent.mkdir(exist_ok=True)
            await git(work, self.root, "worktree", "prune")
            made = await git(work, self.root, "worktree", "add", "-B", f"town/{directory.name}", str(directory))
            if made.status:
                raise RuntimeError(made.stderr_tail)
        yield directory

    async def settle(self, work: WorkContext, disposition: Disposition, directory: Path | None) -> None:
        if directory is None:
            return
        if disposition == "completed" and directory.exists():
            await git(work, directory, "add", "-A")
            await git(work, directory, "commit", "-q", "-m", work.task.headline if work.task else "work")
            await git(work, self.root, "merge", "-q", "--no-edit", f"town/{directory.name}")
        await git(work, self.root, "worktree", "remove", "--force", str(directory))
        await git(work, self.root, "branch", "-D", f"town/{directory.name}")


class Clean(Gate):
    name = "branches"

    def __init__(self, root: Path) -> None:
        self.root = root

    async def check(self, work: WorkContext, directory: Path) -> Verdict:
        if not (directory / ".git").exists():
            return Verdict(passed=True, evidence="no repository")
        checked = await git(work, directory, "diff", "--check")
        return Verdict(passed=checked.status == 0, evidence=checked.stdout_tail)


def scenarios(sandbox: Any) -> dict[str, object]:
    import subprocess

    from tinytown_testing import GateScenario, GateScenarios, WorkspaceScenarios

    def run(directory: Path, *words: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=directory, check=True, capture_output=True
        )

    def repository(directory: Path) -> None:
        run(directory, "init", "-q")
        (directory / "file").write_text("one\n")
        run(directory, "add", "file")
        run(directory, "commit", "-q", "-m", "first")

    def bad(directory: Path) -> None:
        repository(directory)
        (directory / "file").write_text("one   \n")

    return {
        "workspace branches": WorkspaceScenarios(prepare=repository),
        "gate branches": GateScenarios(passing=GateScenario(prepare=repository), refused=GateScenario(prepare=bad)),
    }
