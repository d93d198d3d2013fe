"""The command ``tt agent-tools``: the server on standard input and output, or the list of its tools for people."""

from __future__ import annotations

import os
import sys

import click
from tinytown import __version__
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownCommand

from tinytown_mcp.mail_tools import MAIL_TOOLS
from tinytown_mcp.mcp import ToolServer, serve
from tinytown_mcp.office import ToolSession, check_round
from tinytown_mcp.task_tools import TASK_TOOLS
from tinytown_mcp.town_tools import TOWN_TOOLS

_INSTRUCTIONS = (
    "The tools of the town that you work in, together with other agents: your mail, your task, the backlog, and who is there. "
    "Say by task_complete or task_fail how your task ended."
)


@click.command(cls=TownCommand, examples=["tt agent-tools --list", "tt agent-tools --list --json"])
@click.option("--list", "listing", is_flag=True, help="List the tools instead of serving them.")
@pass_cli_context
def agent_tools(context: CliContext, listing: bool) -> None:
    """Serve the town's own tools to the coding CLI of an agent: an MCP server on standard input and output.

    A backend's sessions start it, in the environment of a round; the tools act as the agent whose round it is.
    """
    with ToolSession(context) as office:
        tools = [maker.make(office) for maker in (*MAIL_TOOLS, *TASK_TOOLS, *TOWN_TOOLS)]
        if listing:
            rows = [(tool.name, ", ".join(tool.schema["properties"]), tool.description) for tool in tools]
            context.emit({"tools": [tool.shape for tool in tools]}, table(("tool", "arguments", "about"), rows))
            return
        check_round()
        server = ToolServer(tools, name="town", version=__version__, instructions=_INSTRUCTIONS)
        # Standard output is the protocol's alone: whatever else is printed goes to stderr.
        with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as writing:
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
            serve(server, sys.stdin.buffer, writing)
