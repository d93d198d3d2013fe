"""The plan of a town, ``tasks.toml``: its format as values, and what a plan and a town have to tell each other. Pure.

`reading` knows the format, `stages` the order of work, `comparing` what a push or a pull would change, `writing` how to put
that into the file (and alone imports tomlkit). Nothing here reads files or talks to a server.
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
            "plan", "Show the plan in tasks.toml, or begin one.", "tinytown_plans.plan_command:plan", section="Work"
        ),
        Command(
            "sync",
            "Send the plan to the town; write back how far it is.",
            "tinytown_plans.sync_command:sync",
            section="Work",
        ),
    )
