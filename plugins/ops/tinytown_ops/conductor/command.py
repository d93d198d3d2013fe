"""``tt conductor``: a person's own coding CLI, in the foreground, told about the town and how to run it."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click
from tinytown.client import TownClient
from tinytown.config import (
    CONFIG_FILE,
    RUNTIME_DIRECTORY,
    TOWN_VARIABLE,
    Config,
    convert_settings,
    prepare_runtime_directory,
)
from tinytown.errors import ConfigError, NotFound, TinytownError, UsageError
from tinytown.files import replace_file
from tinytown.identity import ROUND_VARIABLES
from tinytown.kernel import running_kernel
from tinytown.model.tasks import FINISHED, TASK_STATES, TaskState
from tinytown.model.text import shown
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.params import Word
from tinytown_ops import Settings
from tinytown_ops.coding_clis import BY_NAME, CODING_CLIS, CONTEXT_FILE, installed
from tinytown_ops.conductor.context import build_context

#: Names the file with the context to the CLI and to all that it starts.
CONTEXT_VARIABLE = "TINYTOWN_CONTEXT_FILE"

_TASKS_READ = 60


@click.command(
    cls=TownCommand,
    examples=["tt conductor", "tt conductor --cli codex", "tt conductor --resume", "tt conductor --print"],
)
@click.option(
    "-c", "--cli", "name", type=Word("name", "coding_clis"), metavar="NAME",
    help="Which coding CLI.  [default: plugins.ops.conductor_cli, else default_cli, else the first that is installed]",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with its latest session, if it has one here.")
@click.option("--print", "print_only", is_flag=True, help="Print what it would be told, and start nothing.")
@pass_cli_context
def conductor(context: CliContext, name: str | None, resume: bool, print_only: bool) -> None:
    """Talk with a coding CLI that runs the town for you: it is told who is here, what there is to do, and the commands.

    The CLI takes this terminal over and works in the town's directory. What it is told lies in .tt/conductor.md.
    """
    with context.open_town() as town:
        town.caller.refuse_agents("cannot conduct the town", "send the supervisor a message")
        words = None if print_only else _words(town.root, town.config, name, resume=resume)
        briefing = _context(town)
        root = town.root
    if words is None:
        context.emit({"context": briefing}, briefing.splitlines())
        return
    if context.json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "expected a terminal to talk on", hint="tt conductor --print prints what the CLI would be told"
        )
    _become(root, words, _write(root, briefing))


def _words(root: Path, config: Config, name: str | None, *, resume: bool) -> list[str]:
    """The command of the CLI that was asked for, or is set, or is installed.

    Raises: NotFound for one that is unknown or not installed, with what to install; ConfigError.
    """
    wanted = name or _settings(config, root).conductor_cli
    if wanted and wanted not in BY_NAME:
        if name or not (" " in wanted or "/" in wanted or CONTEXT_FILE in wanted):
            known = ", ".join(BY_NAME)
            raise NotFound(
                f"no coding CLI called {shown(wanted)!r}; known are: {known}",
                hint="plugins.ops.conductor_cli in tinytown.toml takes any command, with {context_file} in it",
            )
        try:
            command = shlex.split(wanted)
        except ValueError as error:
            raise ConfigError(
                f"cannot split plugins.ops.conductor_cli into words: {error}", key="plugins.ops.conductor_cli"
            ) from error
        _check_installed(command[0], "install it, or change plugins.ops.conductor_cli in tinytown.toml")
        return command
    here = installed()
    fallback = next(iter([each for each in here if each.name == config.default_cli] or here), None)
    cli = BY_NAME[wanted] if wanted else fallback
    if cli is None:
        raise NotFound(
            f"no coding CLI is installed; known are: {', '.join(each.program for each in CODING_CLIS)}",
            hint=f"for instance {CODING_CLIS[0].install}",
        )
    _check_installed(cli.program, cli.install)
    return list(cli.resume if resume else cli.start)


def _settings(config: Config, root: Path) -> Settings:
    """This plugin's own settings. Raises: ConfigError."""
    return convert_settings(Settings, config.plugins.get("ops", {}), root / CONFIG_FILE, "plugins.ops")


def _check_installed(program: str, how: str) -> None:
    if shutil.which(program) is None:
        raise NotFound(f"{shown(program)} is not on the PATH", hint=how)


def _context(town: TownClient) -> str:
    from tinytown.roles import load_roles

    open_states: list[TaskState] = [state for state in TASK_STATES if state not in FINISHED and state != "pending"]
    status, backlog, *by_state = town.run_all(
        [
            town.operations.status(),
            town.operations.tasks(state="backlog", limit=_TASKS_READ),
            *(town.operations.tasks(state=state, limit=_TASKS_READ) for state in open_states),
        ]
    )
    return build_context(
        town=town.config.name,
        root=town.root,
        status=status,
        open_tasks=[task for tasks in by_state for task in tasks],
        backlog=backlog,
        kinds=_kinds(town, status.hosts),
        roles={role.name: role.purpose for role in load_roles(town.config).values()},
    )


def _kinds(town: TownClient, hosts: Sequence[object]) -> list[str]:
    found = {kind for host in hosts for kind in getattr(host, "backends", ())}
    if found or running_kernel(town.root):
        return sorted(found)
    from tinytown_cli.plugin_commands import load_town_plugins  # late: a kernel that runs has told already

    return sorted(load_town_plugins(town.root, town.config, strict=False).backends)


def _write(root: Path, context: str) -> Path:
    """Keep the context where the CLI can read it, for us alone; a half-written one is never seen."""
    path = prepare_runtime_directory(root) / "conductor.md"
    replace_file(path, context.encode("utf-8", "replace"))
    return path


def _become(root: Path, words: Sequence[str], context_file: Path) -> NoReturn:
    """Be the CLI from now on, in the town's directory. Raises: TinytownError when it cannot be started."""
    shown_file = os.path.join(RUNTIME_DIRECTORY, context_file.name)
    command = [word.replace(CONTEXT_FILE, shown_file) for word in words]
    environment = {name: value for name, value in os.environ.items() if name not in ROUND_VARIABLES}
    scripts, path = sysconfig.get_path("scripts"), environment.get("PATH", os.defpath)
    if scripts not in path.split(os.pathsep):
        path = f"{path}{os.pathsep}{scripts}"
    environment |= {TOWN_VARIABLE: str(root), CONTEXT_VARIABLE: str(context_file), "PATH": path}
    os.chdir(root)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvpe(command[0], command, environment)
    except OSError as error:
        raise TinytownError(
            f"cannot start {shown(command[0])}: {error.strerror}", hint="run it by itself to see why"
        ) from error
