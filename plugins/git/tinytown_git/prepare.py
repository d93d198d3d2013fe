"""Makes a new worktree ready to work in: copies, links, ports, and a setup command. Runs what the person has configured."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
import trio
from tinytown.contracts import WorkContext
from tinytown.errors import TinytownError
from tinytown.files import replace_file
from tinytown.model.text import shown
from tinytown.process import ProcessSupervisor

from tinytown_git.repository import Repository
from tinytown_git.settings import Settings

_EVIDENCE = 1_000
_PORTS = "ports.json"
_EXCLUDED = "# Brought into worktrees of Tinytown, see [plugins.git] copy and link\n"


class SetupFailed(TinytownError):
    """The setup command of a worktree failed, or took too long. The log has all of its output."""

    code = "setup_failed"


async def prepare(repository: Repository, settings: Settings, work: WorkContext, worktree: Path, log: Path) -> None:
    """Copy, link, and run the setup in a worktree of the project. Raises: SetupFailed; OSError."""
    below = worktree / repository.prefix
    brought = await trio.to_thread.run_sync(bring_files, settings, work.root, below)
    await trio.to_thread.run_sync(exclude, repository.git_dir, [repository.prefix / path for path in brought])
    if settings.setup:
        await _set_up(settings, work.processes, work.environment, below, log)


async def _set_up(
    settings: Settings, processes: ProcessSupervisor, environment: Mapping[str, str], directory: Path, log: Path
) -> None:
    ended = await processes.run(
        ["/bin/sh", "-c", settings.setup],
        cwd=directory,
        env=environment,
        on_line=lambda _: None,
        timeout_s=settings.setup_timeout_s or None,
        log_path=log,
    )
    if ended.reason == "exited" and ended.status == 0:
        return
    how = (
        f"exit status {ended.status}"
        if ended.reason == "exited"
        else f"did not end within {settings.setup_timeout_s:g} s"
    )
    said = (ended.stderr_tail or ended.stdout_tail).strip()[-_EVIDENCE:]
    raise SetupFailed(f"the setup of the worktree failed: {how}: {shown(said, _EVIDENCE)}", hint=f"see {log}")


def bring_files(settings: Settings, project: Path, worktree: Path) -> list[Path]:
    """Copy and link what the settings name, unless it is there; what was. A pattern that fits nothing is no error."""
    brought: list[Path] = []
    for source, target in _named(settings.copy, project, worktree):
        brought.append(source.relative_to(project))
        if source.is_dir() and not source.is_symlink():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copy2(source, target, follow_symlinks=False)
    for source, target in _named(settings.link, project, worktree):
        brought.append(source.relative_to(project))
        target.symlink_to(source, target_is_directory=source.is_dir())
    return brought


def _named(patterns: tuple[str, ...], project: Path, worktree: Path) -> Iterator[tuple[Path, Path]]:
    for pattern in patterns:
        for source in sorted(project.glob(pattern)):
            target = worktree / source.relative_to(project)
            if not os.path.lexists(target) and target.parent.resolve().is_relative_to(worktree.resolve()):
                target.parent.mkdir(parents=True, exist_ok=True)
                yield source, target


def exclude(git_dir: Path, paths: list[Path]) -> None:
    """Have git ignore what was brought, so that it is in no commit: an ``.env`` that nothing ignores, and links, which a pattern
    such as ``node_modules/`` does not fit."""
    file = git_dir / "info" / "exclude"
    text = file.read_text(encoding="utf-8", errors="surrogateescape") if file.exists() else ""
    lines = text.splitlines()
    wanted = ["/" + re.sub(r"([*?\[\\\s])", r"\\\1", str(path)) for path in paths if "\n" not in str(path)]
    if missing := [line for line in wanted if line not in lines]:
        file.parent.mkdir(exist_ok=True)
        head = "" if _EXCLUDED in text else _EXCLUDED
        with open(file, "a", encoding="utf-8", errors="surrogateescape") as opened:
            opened.write(("\n" if text and not text.endswith("\n") else "") + head + "\n".join(missing) + "\n")


def port_of(directory: Path, base: int, agent: str, task: str) -> int:
    """The number of a worktree, the lowest that no other one has. `directory` is that of all worktrees."""
    ports: dict[str, int] = {}
    with suppress(OSError, msgspec.MsgspecError):
        ports = msgspec.json.decode((directory / _PORTS).read_bytes(), type=dict[str, int])
    name = f"{agent}/{task}"
    if name not in ports:
        ports = {other: port for other, port in ports.items() if (directory / f"{other}.json").exists()}
        taken = set(ports.values())
        ports[name] = next(port for port in range(base, base + len(taken) + 1) if port not in taken)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(directory / _PORTS, msgspec.json.encode(ports))
    return ports[name]


def agent_identity(agent: str) -> tuple[str, str]:
    """Name and address of an agent as an author. The domain is one that cannot exist."""
    return agent, f"{agent}@tinytown.invalid"


def identity_variables(agent: str) -> Mapping[str, str]:
    """The variables by which git takes an agent for the author and committer."""
    name, email = agent_identity(agent)
    return {
        f"GIT_{who}_{what}": text
        for who in ("AUTHOR", "COMMITTER")
        for what, text in (("NAME", name), ("EMAIL", email))
    }
