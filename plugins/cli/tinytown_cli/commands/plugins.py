"""``tt plugins``: what is installed, what each of them adds, and what is wrong with one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click
from tinytown.packages import default_kind, install_hint
from tinytown_cli.backend_warnings import warnings_by_kind
from tinytown_cli.command_table import COMMANDS
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownCommand
from tinytown_cli.plugin_commands import survey

if TYPE_CHECKING:
    from tinytown.plugin import PluginReport


@click.command(cls=TownCommand, examples=["tt plugins", "tt plugins --json", "TINYTOWN_BLOCK=journal tt plugins"])
@pass_cli_context
def plugins(context: CliContext) -> None:
    """The installed plugins: what each of them adds, what is wrong with one, and what to know of its agents."""
    found = survey(context)
    shapes = [_shape(each) for each in found.reports]
    rows = [
        (each.name, f"{each.distribution} {each.version}".strip(), each.status, _about(each)) for each in found.reports
    ]
    lines = (
        [*table(("plugin", "distribution", "status", "about"), rows)]
        if rows
        else [f"no plugins: {install_hint('kinds', default_kind())}"]
    )
    problems = [*(each.message for each in found.problems), *_hidden_commands(found.reports)]
    warnings = warnings_by_kind(found.backends)
    lines += [f"problem: {each}" for each in problems]
    lines += [f"warning: {each}" for told in warnings.values() for each in told]
    context.emit({"plugins": shapes, "problems": problems, "warnings": warnings}, lines)


def _hidden_commands(reports: Sequence[PluginReport]) -> Iterator[str]:
    for report in reports:
        for name in report.contributions.get("commands", ()):
            if name in COMMANDS:
                yield f"plugin {report.name!r}: the command {name!r} is never run: tt has one of this name"


def _shape(report: PluginReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "distribution": report.distribution,
        "version": report.version,
        "status": report.status,
        "reason": report.reason,
        "hooks": report.hooks,
        "contributions": report.contributions,
        "offers": report.contributions,  # its name until 0.1, for one release more
    }


def _about(report: PluginReport) -> str:
    contributions = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in report.contributions.items())
    return report.reason or contributions or f"hooks: {', '.join(report.hooks)}"
