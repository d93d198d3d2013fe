"""The declared checks, run by the town in a clean worktree of a commit: what an agent says of its tests is not asked.

A check is the project's code as agents have left it, so it runs in a box where the author's permissions are not ``full``.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import trio
from tinytown.config import CONFIG_FILE, Config
from tinytown.contracts import Box
from tinytown.errors import TinytownError
from tinytown.model.agents import Agent
from tinytown.model.text import shown
from tinytown.packages import install_hint
from tinytown.process import Exit, ProcessSupervisor
from tinytown.state import state_directory, state_home
from tinytown_cli.trees import remove_tree

from tinytown_git.prepare import bring_files
from tinytown_git.settings import Settings
from tinytown_git.work import CheckResult
from tinytown_git.worktrees import Worktrees

_OUTPUT = 2_000
_CHECKS = "_checks"
_GRACE_S = 3.0

#: What a command becomes in a box, by command, directory and environment; as it is without one.
Wrap: TypeAlias = Callable[[Sequence[str], Path, Mapping[str, str]], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Bench:
    """Where and how checks run: whose processes, in which environment, in which box."""

    processes: ProcessSupervisor
    environment: Mapping[str, str]
    wrap: Wrap


async def run_checks(
    worktrees: Worktrees, settings: Settings, root: Path, commit: str, bench: Bench, log: Path
) -> tuple[CheckResult, ...]:
    """The results of the declared checks on a commit, up to the first that fails. All output is added to the file `log`.

    Raises: GitFailed or OSError if there can be no worktree; TinytownError if a check cannot be run.
    """
    tree = await worktrees.repository.tree(commit)
    results: list[CheckResult] = []
    async with clean_worktree(worktrees, commit) as top:
        directory = top / worktrees.repository.prefix
        await trio.to_thread.run_sync(bring_files, settings, root, directory)
        commands = {"setup": settings.setup, **settings.checks} if settings.setup else settings.checks
        for name, command in commands.items():
            began = trio.current_time()
            limit_s = settings.setup_timeout_s if name == "setup" else settings.check_timeout_s
            ended = await _run(command, directory, bench, limit_s, log)
            passed = ended.reason == "exited" and ended.status == 0
            output = "" if passed else _output(ended, limit_s)
            took_s = round(trio.current_time() - began, 3)
            if name != "setup" or not passed:
                results.append(
                    CheckResult(name=name, passed=passed, tree=tree, output=output, duration_s=took_s, log=str(log))
                )
            if not passed:
                break
    return tuple(results)


async def _run(command: str, directory: Path, bench: Bench, limit_s: float, log: Path) -> Exit:
    return await bench.processes.run(
        bench.wrap(["/bin/sh", "-c", command], directory, bench.environment),
        cwd=directory,
        env=bench.environment,
        on_line=lambda _: None,
        timeout_s=limit_s or None,
        grace_s=_GRACE_S,
        log_path=log,
    )


def _output(ended: Exit, limit_s: float) -> str:
    """How a check ended, and the end of what it said."""
    how = f"exit status {ended.status}" if ended.status is not None else f"signal {ended.signal}"
    if ended.reason != "exited":
        how = f"did not end within {limit_s:g} s"
    said = "\n".join(text for text in (ended.stdout_tail.strip(), ended.stderr_tail.strip()) if text)
    return f"{how}\n{said[-_OUTPUT:]}".strip()


@asynccontextmanager
async def clean_worktree(worktrees: Worktrees, commit: str) -> AsyncGenerator[Path]:
    """A new worktree at `commit`, removed afterwards."""
    path = worktrees.directory / _CHECKS / f"{commit[:12]}-{os.urandom(4).hex()}"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        await worktrees.add_detached(path, commit)
        yield path
    finally:
        with trio.CancelScope(shield=True, relative_deadline=60):
            await worktrees.discard(path)


async def sweep_clean_worktrees(worktrees: Worktrees) -> None:
    """Remove what killed checks have left."""
    for path in (worktrees.directory / _CHECKS).glob("*"):
        with suppress(OSError, TinytownError):
            await worktrees.discard(path)
    with suppress(OSError):
        remove_tree(worktrees.directory / _CHECKS)


def unboxed(command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> Sequence[str]:
    """The command as it is."""
    return command


async def wrap_for(agent: Agent, config: Config, root: Path) -> Wrap:
    """How commands on the work of `agent` are to be run. Raises: TinytownError if they need a box and there can be none."""
    from tinytown.plugin import survey_plugins

    plugins = await trio.to_thread.run_sync(survey_plugins, config, root)
    backend = plugins.backends.get(agent.cli)
    permissions = backend.permissions_of(agent, config.permissions) if backend else config.permissions or "full"
    if permissions == "full":
        return unboxed
    problems: list[str] = []
    for sandbox in plugins.sandboxes:
        problem = await trio.to_thread.run_sync(sandbox.problem)
        if problem:
            problems.append(problem)
            continue

        def boxed(command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> Sequence[str]:
            hidden = (state_home(), state_directory(root))
            box = Box(profile="write", workspace=directory, read_only=(root / CONFIG_FILE,), hidden=hidden)
            return sandbox.wrap(command, box=box, environment=environment)  # noqa: B023 - returned at once

        return boxed
    raise TinytownError(
        f"the checks run what {shown(agent.name)} has written, whose permissions are {permissions!r}, and need a box: "
        + ("; ".join(problems) or "no sandbox is installed"),
        hint=install_hint("parts", "boxes"),
        code="no_box",
    )
