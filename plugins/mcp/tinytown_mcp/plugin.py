"""The hooks of the plugin. Apart from the package, so that typing a command imports none of them."""

from __future__ import annotations

from tinytown.contracts import Command, ReportingGuide
from tinytown.hookspecs import hookimpl

TINYTOWN_HOOK_API = 2

_GUIDE = ReportingGuide(
    task="`task_show` {}",
    mail="`read_message`",
    agents="`who_is_who`",
    reporting="""\
- `task_complete` when the task is done, with what you did; `task_fail`, with the reason, when it cannot be done.
""",
    acting="""\
- `send` gives another agent work, asks or informs; `reply` answers a message; `ask_supervisor` asks a human.
- `inbox`, `read_message`, `task_show`, `status` and `who_is_who` show mail, tasks, the town and its agents.
- `task_assign` creates a task for an agent, `backlog_add` one for any agent; `backlog_list` and `backlog_claim` find more work.
- `task_reject` returns finished work to the agent that did it.

These are tools of the MCP server `town`; their names may have a prefix here, such as `mcp__town__send`. If they are missing,
the command `tt` does the same: `tt --help`.""",
)


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
def tinytown_reporting_guide(town_tools: bool) -> ReportingGuide | None:
    """With `town_tools`, the guide names the tools; otherwise no opinion."""
    return _GUIDE if town_tools else None
