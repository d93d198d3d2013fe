"""Migration from Tinytown 0.10 for Rust: its data becomes a snapshot, its settings a new ``tinytown.toml``.

`source` reads the old keys and changes none, `conversion` makes a snapshot of them, `old_settings` converts the settings.
`tinytown_snapshots` restores the snapshot.
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
            "Migrate a town of Tinytown 0.10.",
            "tinytown_migrate.cli_commands:migrate",
            section="The town",
        ),
    )
