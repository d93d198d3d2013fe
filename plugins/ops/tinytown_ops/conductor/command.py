"""``tt conductor``: a person's own coding CLI, in the foreground, that knows the town and how to run it."""

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
from tinytown.config import Config
from tinytown.errors import ConfigError, NotFound, TinytownError, UsageError
from tinytown.files import replace_file
from tinytown.identity import ROUND_VARIABLES, TOWN_VARIABLE
from tinytown.kernel import running_kernel
from tinytown.model.results import Host
from tinytown.model.tasks import FINISHED, TASK_STATES, TaskState
from tinytown.model.text import shown
from tinytown.state import open_state
from tinytown_cli.client import TownClient
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.params import Word

from tinytown_ops.coding_clis import BY_NAME, CODING_CLIS, CONTEXT_FILE, installed
from tinytown_ops.conductor.context import build_context
from tinytown_ops.plugin_settings import read_settings

#: Path of the context file, for the CLI and everything that it starts.
CONTEXT_VARIABLE = "TINYTOWN_CONTEXT_FILE"

_TASKS_LIMIT = 60


@click.command(
    cls=TownCommand,
    examples=["tt conductor", "tt conductor --cli codex", "tt conductor --resume", "tt conductor --print"],
)
@click.option(
    "-c", "--cli", "name", type=Word("name", "coding_clis"), metavar="NAME",
    help="Which coding CLI.  [default: conductor_cli in [plugins.ops], default_cli, the first installed]",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Resume its latest session, if there is one here.")
@click.option("--print", "print_only", is_flag=True, help="Print its context and start nothing.")
@pass_cli_context
def conductor(context: CliContext, name: str | None, resume: bool, print_only: bool) -> None:
    """Run the town through a coding CLI: it gets the agents, the open tasks and the commands as context.

    The CLI takes over this terminal and works in the town's directory. Its context is a file among the town's state: tt where.
    """
    with context.open_town() as town:
        town.caller.refuse_agents("cannot conduct the town", "send the supervisor a message")
        command = None if print_only else _command(town.root, town.config, name, resume=resume)
        markdown = _context(town)
        root = town.root
    if command is None:
        context.emit({"context": markdown}, markdown.splitlines())
        return
    if context.json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("expected a terminal", hint="tt conductor --print prints the context that the CLI would get")
    _become(root, command, _write(root, markdown))


def _command(root: Path, config: Config, name: str | None, *, resume: bool) -> list[str]:
    """The command of the CLI that was named, or is configured, or is installed.

    Raises: NotFound for one that is unknown or not installed, with what to install; ConfigError.
    """
    wanted = name or read_settings(root, config).conductor_cli
    if wanted and wanted not in BY_NAME:
        if name or not (" " in wanted or "/" in wanted or CONTEXT_FILE in wanted):
            known = ", ".join(BY_NAME)
            raise NotFound(
                f"no coding CLI called {shown(wanted)!r}; known: {known}",
                hint="conductor_cli in [plugins.ops] takes any command, with {context_file} in it",
            )
        try:
            command = shlex.split(wanted)
        except ValueError as error:
            raise ConfigError(
                f"cannot parse conductor_cli as a command: {error}", key="plugins.ops.conductor_cli"
            ) from error
        _check_installed(command[0], "install it, or change conductor_cli in [plugins.ops]")
        return command
    available = installed()
    fallback = next(iter([cli for cli in available if cli.name == config.default_cli] or available), None)
    cli = BY_NAME[wanted] if wanted else fallback
    if cli is None:
        raise NotFound(
            f"no coding CLI is installed; known: {', '.join(known.program for known in CODING_CLIS)}",
            hint=f"for example: {CODING_CLIS[0].install}",
        )
    _check_installed(cli.program, cli.install)
    return list(cli.resume if resume else cli.start)


def _check_installed(program: str, how: str) -> None:
    if shutil.which(program) is None:
        raise NotFound(f"{shown(program)} is not on the PATH", hint=how)


def _context(town: TownClient) -> str:
    from tinytown_prompts.roles import load_roles

    open_states: list[TaskState] = [state for state in TASK_STATES if state not in FINISHED and state != "pending"]
    status, backlog, *by_state = town.run_all(
        [
            town.operations.status(),
            town.operations.tasks(state="backlog", limit=_TASKS_LIMIT),
            *(town.operations.tasks(state=state, limit=_TASKS_LIMIT) for state in open_states),
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


def _kinds(town: TownClient, hosts: Sequence[Host]) -> list[str]:
    kinds = {kind for host in hosts for kind in host.backends}
    if kinds or running_kernel(town.root):
        return sorted(kinds)
    from tinytown_cli.plugin_commands import load_town_plugins  # late: a running kernel has published its kinds

    return sorted(load_town_plugins(town.root, town.config, strict=False).backends)


def _write(root: Path, context: str) -> Path:
    """Write the context to a private file, atomically, for the CLI to read."""
    path = open_state(root) / "conductor.md"
    replace_file(path, context.encode("utf-8", "replace"))
    return path


def _become(root: Path, arguments: Sequence[str], context_file: Path) -> NoReturn:
    """Replace this process by the CLI, in the town's directory. Raises: TinytownError if it cannot be started."""
    command = [argument.replace(CONTEXT_FILE, str(context_file)) for argument in arguments]
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
            f"cannot start {shown(command[0])}: {error.strerror}", hint="run it directly to see why"
        ) from error
