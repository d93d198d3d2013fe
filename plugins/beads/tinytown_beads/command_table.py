"""The commands that the plugin adds, each with the module that is imported when it is typed. Nothing else."""

from __future__ import annotations

from tinytown.contracts import Command

COMMANDS: tuple[Command, ...] = (
    Command("beads", "Bring beads in, write them out, keep both in step.", "tinytown_beads.commands:beads"),
    Command("formula", "Work whose steps stand in a file.", "tinytown_beads.formulas.commands:formula"),
    Command("group", "Sets of tasks that belong together.", "tinytown_beads.groups.commands:group"),
)
