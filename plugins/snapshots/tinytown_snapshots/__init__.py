"""Snapshots: a whole town as lines of JSON, and back.

`records` is the format, `lines` reads and writes it, `checks` says whether a file describes a town that can be, `capture`
reads one from a server, `merging` says what of a snapshot a town lacks, `restoring` puts it there. The functions that
the server needs for this are in a library of their own, loaded when first used.
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
            "save", "Write the town into a file, for git.", "tinytown_snapshots.cli_commands:save", section="The town"
        ),
        Command(
            "restore", "Bring back what tt save wrote.", "tinytown_snapshots.cli_commands:restore", section="The town"
        ),
        Command(
            "reset", "Take everything out of the town.", "tinytown_snapshots.cli_commands:reset", section="The town"
        ),
    )
