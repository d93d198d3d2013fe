"""The command ``tt agent-tools``: the MCP server on standard input and output, or the list of its tools for people."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import click
from tinytown import __version__
from tinytown.errors import TinytownError
from tinytown.plugin import survey_plugins
from tinytown_cli.context import CliContext, output, pass_cli_context
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownCommand

from tinytown_mcp.agent_tools import served_tool
from tinytown_mcp.contracts import AgentTool
from tinytown_mcp.mail_tools import MAIL_TOOLS
from tinytown_mcp.mcp_server import Tool, ToolServer, serve
from tinytown_mcp.task_tools import TASK_TOOLS
from tinytown_mcp.tool_session import RoundToolSession, check_round
from tinytown_mcp.town_tools import TOWN_TOOLS

_INSTRUCTIONS = (
    "Tools of the town in which you work with other agents: your mail, your task, the backlog and the other agents. "
    "Report the end of your task with task_complete or task_fail."
)


@click.command(cls=TownCommand, examples=["tt agent-tools --list", "tt agent-tools --list --json"])
@click.option("--list", "listing", is_flag=True, help="List the tools instead of serving them.")
@pass_cli_context
def agent_tools(context: CliContext, listing: bool) -> None:
    """Serve the town's tools to the coding CLI of an agent: an MCP server on standard input and output.

    Started by the session of a backend in the environment of a round; the tools act as the agent of that round. Plugins
    can add tools of their own.
    """
    with RoundToolSession(context) as session:
        if not listing:
            check_round()
        tools = _tools(context, session)
        if listing:
            rows = [(tool.name, ", ".join(tool.schema["properties"]), tool.description) for tool in tools]
            context.emit({"tools": [tool.listing for tool in tools]}, table(("tool", "arguments", "about"), rows))
            return
        server = ToolServer(tools, name="town", version=__version__, instructions=_INSTRUCTIONS)
        # Standard output belongs to the protocol: whatever else is printed goes to stderr.
        stdout = output().fileno()
        with os.fdopen(os.dup(stdout), "wb") as answers:
            os.dup2(sys.stderr.fileno(), stdout)
            serve(server, sys.stdin.buffer, answers)


def _tools(context: CliContext, session: RoundToolSession) -> list[Tool]:
    """The town's own tools and those of plugins. A plugin's tool that cannot be served is left out with a warning."""
    tools = {tool.name: served_tool(tool, session) for tool in (*MAIL_TOOLS, *TASK_TOOLS, *TOWN_TOOLS)}
    for tool in _plugin_tools(context, session):
        if tool.name in tools:
            context.warn(f"left out the tool {tool.name} of a plugin: the town has a tool of this name")
            continue
        try:
            tools[tool.name] = served_tool(tool, session)
        except Exception as error:  # the plugin's fault, of whatever type
            context.warn(f"left out the tool {tool.name} of a plugin: {error}")
    return list(tools.values())


def _plugin_tools(context: CliContext, session: RoundToolSession) -> Iterator[AgentTool]:
    """The tools that plugins add; none outside of a town, or if its configuration is invalid."""
    try:
        plugins = survey_plugins(session.config, session.root)
    except TinytownError:
        return  # a call of any tool says what is wrong
    yield from plugins.contributed("agent_tools").values()
