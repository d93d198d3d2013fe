"""``tt plugins``: the installed plugins, what each adds, and their problems."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tinytown.errors import NotFound, TinytownError
from tinytown.identity import TOWN_VARIABLE
from tinytown.packages import default_kind, install_hint

from tinytown_cli.backend_warnings import warnings_by_kind
from tinytown_cli.caller import caller_in
from tinytown_cli.command_table import COMMANDS, load
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownGroup
from tinytown_cli.plugin_commands import config_here, survey
from tinytown_cli.plugin_roles import problems_with_roles
from tinytown_cli.serializers import deprecated

if TYPE_CHECKING:
    from tinytown.plugin import PluginReport


@click.group(
    cls=TownGroup, alone="list", examples=["tt plugins", "tt plugins install git notify", "tt plugins list --available"]
)
def plugins() -> None:
    """List plugins, and install those of Tinytown itself."""


@plugins.command(
    "list",
    examples=[
        "tt plugins list",
        "tt plugins list --json",
        "tt plugins list --available",
        "TINYTOWN_BLOCK=journal tt plugins list",
        "tt plugins list --trust plugins/rules.py",
    ],
    scope="town.read",
    local_options=["trust", "distrust"],
)
@click.option(
    "--trust",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Load this file of the project as a plugin, as it is now.",
)
@click.option("--distrust", type=click.Path(path_type=Path), metavar="FILE", help="Load this file no more.")
@click.option("--available", is_flag=True, help="List what tt plugins install can install instead.")
@pass_cli_context
def list_(context: CliContext, trust: Path | None, distrust: Path | None, available: bool) -> None:
    """List the installed plugins: what each adds, its problems, and the warnings of its kinds of agents.

    A file plugins/NAME.py beside tinytown.toml is a plugin, too, once it is trusted: until it is changed.
    """
    for path in (trust, distrust):
        if path is not None:
            _trust(context, path, trusted=path is trust)
            return
    if available:
        _list_available(context)
        return
    surveyed = survey(context)
    shapes = [_shape(report) for report in surveyed.reports]
    rows = [
        (report.name, f"{report.distribution} {report.version}".strip(), report.status, _notes(report))
        for report in surveyed.reports
    ]
    lines = (
        [*table(("plugin", "distribution", "status", "notes"), rows)]
        if rows
        else [f"no plugins installed: {install_hint('kinds', default_kind())}"]
    )
    problems = [*(problem.message for problem in surveyed.problems), *_hidden_commands(surveyed.reports)]
    problems += problems_with_roles(config_here(context))
    warnings = warnings_by_kind(surveyed.backends)
    lines += [f"problem: {problem}" for problem in problems]
    lines += [f"warning: {warning}" for of_kind in warnings.values() for warning in of_kind]
    shape = {"plugins": shapes, "problems": problems, "warnings": warnings}
    context.emit({**shape, **deprecated(cautions=warnings)}, lines)


def _list_available(context: CliContext) -> None:
    from importlib import metadata

    from tinytown_cli.plugin_installer import available

    installed = {each.metadata["Name"]: each.version for each in metadata.distributions()}
    shapes = [
        {"distribution": name, "version": installed.get(name), "brings": brings} for name, brings in available().items()
    ]
    rows = [(str(each["distribution"]), str(each["version"] or "-"), str(each["brings"])) for each in shapes]
    context.emit({"available": shapes}, table(("distribution", "installed", "brings"), rows))


@plugins.command(
    "install", examples=["tt plugins install git notify", "tt plugins install tinytown-acp --dry-run --json"]
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Print the command, and run nothing.")
@pass_cli_context
def install(context: CliContext, names: tuple[str, ...], dry_run: bool) -> None:
    """Install plugins of Tinytown into the environment that tt runs in: with pip, or by pipx or uv if they made it.

    NAME is one of those that tt plugins list --available lists; no other name is ever asked for. A running kernel takes
    them up after tt reload.
    """
    import shlex
    import subprocess

    from tinytown_cli.plugin_installer import Python, absent, distributions, install_command, missing_program

    caller_in(os.environ.get(TOWN_VARIABLE, "")).refuse_agents(
        "cannot install plugins", "ask a person: tt send supervisor TEXT"
    )
    wanted = distributions(names)
    command = install_command(wanted, Python.current())
    shape = {"distributions": wanted, "command": command, "installed": False}
    if dry_run:
        context.emit(shape, [shlex.join(command)])
        return
    if program := missing_program(command):
        raise NotFound(
            f"there is no {program} on PATH, which installed this Tinytown", hint=f"run: {shlex.join(command)}"
        )
    click.echo(shlex.join(command), err=True)
    ended = subprocess.run(command, stdout=sys.stderr, check=False)
    if ended.returncode:
        raise TinytownError(
            f"{command[0]} ended with status {ended.returncode}", hint=f"run it yourself: {shlex.join(command)}"
        )
    if elsewhere := absent(wanted, Python.current()):
        raise TinytownError(
            f"{command[0]} did not install {', '.join(elsewhere)} into {sys.prefix}, where this tt is",
            hint=f"is there another Tinytown? This one is {sys.argv[0]}",
        )
    context.emit(
        {**shape, "installed": True}, [f"installed {', '.join(wanted)}; tt reload has a running kernel take it up"]
    )


def _trust(context: CliContext, path: Path, *, trusted: bool) -> None:
    from tinytown_cli.plugin_files import trust_file

    root = context.town_root()
    caller_in(root).refuse_agents("cannot trust plugins", "ask a person: tt send supervisor TEXT")
    digest = trust_file(root, path, trusted=trusted)
    text = (
        f"{path} is {'trusted as it is now' if trusted else 'not loaded any more'}; tt reload has the kernel take it up"
    )
    context.emit({"file": str(path), "trusted": trusted, "sha256": digest or None}, text)


def _hidden_commands(reports: Sequence[PluginReport]) -> Iterator[str]:
    for report in reports:
        for name in report.contributions.get("commands", ()):
            group, _, word = name.rpartition(" ")
            if name in COMMANDS or (group in COMMANDS and _has_command(group, word)):
                yield f"plugin {report.name!r}: the command {name!r} is never run: tt has one of this name"


def _has_command(group: str, word: str) -> bool:
    command = load(COMMANDS[group].target)
    return isinstance(command, click.Group) and word in command.commands


def _shape(report: PluginReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "distribution": report.distribution,
        "version": report.version,
        "status": report.status,
        "reason": report.reason,
        "hooks": report.hooks,
        "contributions": report.contributions,
        **deprecated(offers=report.contributions),
    }


def _notes(report: PluginReport) -> str:
    contributions = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in report.contributions.items())
    return report.reason or contributions or f"hooks: {', '.join(report.hooks)}"
