"""The hooks of the plugin. Apart from the package, so that typing a command imports none of them."""

from __future__ import annotations

from tinytown.hookspecs import hookimpl
from tinytown_cli.contracts import Command

TINYTOWN_HOOK_API = 2


@hookimpl
def tinytown_commands() -> tuple[Command, ...]:
    """Also announced as entry points of the group `tinytown.commands`, by which they are found when typed."""
    return (
        Command(
            "demo",
            "Watch four scripted agents build a small tool, from plan to review.",
            "tinytown_demo.command:demo",
            section="Start here",
        ),
    )
