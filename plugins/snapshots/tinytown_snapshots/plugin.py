"""The hooks of the plugin. Apart from the package, so that typing a command imports none of them."""

from __future__ import annotations

from collections.abc import Sequence

from tinytown.config import Config
from tinytown.contracts import Service
from tinytown.hookspecs import hookimpl
from tinytown_cli.contracts import Command

TINYTOWN_HOOK_API = 2


@hookimpl
def tinytown_commands() -> tuple[Command, ...]:
    """Also announced as entry points of the group `tinytown.commands`, by which they are found when typed."""
    return (
        Command("save", "Save the town to a file for git.", "tinytown_snapshots.cli_commands:save", section="The town"),
        Command(
            "restore", "Restore a snapshot of tt save.", "tinytown_snapshots.cli_commands:restore", section="The town"
        ),
        Command(
            "reset", "Remove everything from the town.", "tinytown_snapshots.cli_commands:reset", section="The town"
        ),
    )


@hookimpl
def tinytown_services(config: Config) -> Sequence[Service]:
    from tinytown_snapshots.rotation import SnapshotService  # late: commands do without trio

    return [SnapshotService()] if config.state.snapshots else []


@hookimpl(optionalhook=True)  # without a townhall there is no such hook
def tinytown_townhall_extensions() -> Sequence[object]:
    from tinytown_snapshots.townhall import SnapshotsExtension

    return (SnapshotsExtension(),)
