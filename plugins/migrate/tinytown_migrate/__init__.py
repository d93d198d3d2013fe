"""Coming from Tinytown 0.10 for Rust: what its server holds and what its settings say, as a snapshot and settings of ours.

`source` reads the old keys and changes none, `conversion` makes a snapshot of them, `old_settings` reads the old
``tinytown.toml``. Putting the snapshot into a town is `tinytown_snapshots`' business.
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
            "migrate",
            "Bring a town of Tinytown 0.10 along.",
            "tinytown_migrate.cli_commands:migrate",
            section="The town",
        ),
    )
