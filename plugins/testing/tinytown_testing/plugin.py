"""The plugin `testing`: announces `tt plugin`. Apart from the package, whose import costs nothing."""

from __future__ import annotations

from tinytown.hookspecs import hookimpl
from tinytown_cli.contracts import Command

TINYTOWN_HOOK_API = 2


@hookimpl
def tinytown_commands() -> tuple[Command, ...]:
    """Also announced as entry points of the group `tinytown.commands`, by which they are found when typed."""
    return (
        Command(
            "plugin",
            "Create a plugin, or check an installed one against its promises.",
            "tinytown_testing.command:plugin",
            section="More",
        ),
    )
