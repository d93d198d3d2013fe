"""The hooks of the plugin. Apart from the package, so that typing a command imports none of them."""

from __future__ import annotations

import re

from tinytown.hookspecs import hookimpl
from tinytown_cli.contracts import Command
from tinytown_prompts.hookspecs import ReportingGuide

TINYTOWN_HOOK_API = 2

_ACTING = """\
- `send` gives another agent work, asks or informs; `reply` answers a message.
- `task_assign` and `backlog_add` create tasks, `backlog_claim` takes one, `task_reject` returns finished work to its agent.
- `inbox`, `read_message`, `task_show`, `status`, `who_is_who` and `backlog_list` show more.

When you stop, every process you started is ended. Nobody can answer questions in this round: use `ask_supervisor` and finish."""
_REPORTING = """\
- `task_complete` when the task is done, with what you did; `task_fail`, with the reason, when it cannot be done.
"""
_REPORTING_EACH = """\
- `task_complete` when a task is done, with its id and what you did; `task_fail`, with its id and why, when it cannot be done.
"""
_TOOL = re.compile("`([a-z_]+)`")


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


@hookimpl
def tinytown_reporting_guide(town_tools: bool | str | None) -> ReportingGuide | None:
    """With `town_tools`, the guide names the tools as the agent's CLI does; otherwise no opinion."""
    if not town_tools:
        return None
    form = town_tools if isinstance(town_tools, str) else "{}"

    def named(text: str) -> str:
        return _TOOL.sub(lambda tool: f"`{form.format(tool[1])}`", text)

    return ReportingGuide(
        task=f"{named('`task_show`')} {{}}",
        mail=named("`read_message`"),
        agents=named("`who_is_who`"),
        reporting=named(_REPORTING),
        reporting_each=named(_REPORTING_EACH),
        acting=named(_ACTING),
    )
