"""The demo: a town of four agents that builds a small tool in a git repository of its own, from plan to review.

`stage` makes the place, `plan` says who does what, `play` runs the town and watches, `view_*` show it, `report` says what
came of it; `actor` and `wordcount` are the scripted agents, processes of their own that know the town only by `tt`.
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
