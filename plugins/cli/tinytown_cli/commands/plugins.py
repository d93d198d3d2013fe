"""``tt plugins``: the installed plugins, what each adds, and their problems."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click
from tinytown.packages import default_kind, install_hint

from tinytown_cli.backend_warnings import warnings_by_kind
from tinytown_cli.command_table import COMMANDS, load
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownCommand
from tinytown_cli.plugin_commands import survey
from tinytown_cli.serializers import deprecated

if TYPE_CHECKING:
    from tinytown.plugin import PluginReport


@click.command(cls=TownCommand, examples=["tt plugins", "tt plugins --json", "TINYTOWN_BLOCK=journal tt plugins"])
@pass_cli_context
def plugins(context: CliContext) -> None:
    """List the installed plugins: what each adds, its problems, and the warnings of its kinds of agents."""
    found = survey(context)
    shapes = [_shape(each) for each in found.reports]
    rows = [
        (each.name, f"{each.distribution} {each.version}".strip(), each.status, _notes(each)) for each in found.reports
    ]
    lines = (
        [*table(("plugin", "distribution", "status", "notes"), rows)]
        if rows
        else [f"no plugins installed: {install_hint('kinds', default_kind())}"]
    )
    problems = [*(each.message for each in found.problems), *_hidden_commands(found.reports)]
    warnings = warnings_by_kind(found.backends)
    lines += [f"problem: {problem}" for problem in problems]
    lines += [f"warning: {warning}" for of_kind in warnings.values() for warning in of_kind]
    shape = {"plugins": shapes, "problems": problems, "warnings": warnings}
    context.emit({**shape, **deprecated(cautions=warnings)}, lines)


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
