"""The demo: a town of four agents that builds a small tool in a git repository of its own, from plan to review.

`demo_town` creates the town, `plan` defines agents and tasks, `demo_run` runs it, `views` and `live_view` show it, `report`
checks the result. `scripted_agent` and `wordcount` are the agents: processes that reach the town through `tt` alone.
"""

from __future__ import annotations

from tinytown.contracts import Command
from tinytown.hookspecs import hookimpl

TINYTOWN_HOOK_API = 2


@hookimpl
def tinytown_commands() -> tuple[Command, ...]:
    """Also announced as entry points of the group `tinytown.commands`, by which they are found when typed."""
    return (
        Command(
            "demo",
            "Watch four scripted agents build a small tool, from plan to review.",
            "tinytown_demo.command:demo",
            section="The town",
        ),
    )
