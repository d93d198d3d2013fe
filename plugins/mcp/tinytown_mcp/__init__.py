"""``tt agent-tools``: what an agent can do in its town, offered to its coding CLI as tools over the Model Context Protocol."""

from __future__ import annotations

from tinytown.contracts import Command
from tinytown.hookspecs import hookimpl

TINYTOWN_HOOK_API = 2


@hookimpl
def tinytown_commands() -> tuple[Command, ...]:
    """Also announced as entry points of the group `tinytown.commands`, by which they are found when typed."""
    return (
        Command(
            "agent-tools",
            "Serve an agent's tools to its coding CLI.",
            "tinytown_mcp.command:agent_tools",
            section="More",
        ),
    )
