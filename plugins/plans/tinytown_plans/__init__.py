"""The plan of a town as a file, ``tasks.toml``, and the commands ``tt plan`` and ``tt sync``.

`plan_file` knows the format, `comparison` what a push or a pull changes, `plan_update` how to write that into the file.
These are pure; the two commands read files and talk to the town.
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
            "plan", "Show the plan in tasks.toml, or start one.", "tinytown_plans.plan_command:plan", section="Work"
        ),
        Command(
            "sync",
            "Push the plan to the town; pull progress back.",
            "tinytown_plans.sync_command:sync",
            section="Work",
        ),
    )
