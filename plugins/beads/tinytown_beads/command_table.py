"""The commands that the plugin adds, each with the module that is imported when it is typed. Nothing else."""

from __future__ import annotations

from tinytown_cli.contracts import Command

COMMANDS: tuple[Command, ...] = (
    Command(
        "beads", "Import, export and sync beads.", "tinytown_beads.commands:beads", section="Plans, groups, formulas"
    ),
    Command(
        "group",
        "Group tasks that belong together.",
        "tinytown_beads.groups.commands:group",
        section="Plans, groups, formulas",
    ),
    Command("remember", "Add a note to every prompt.", "tinytown_beads.note_commands:remember", section="Agents"),
    Command("recall", "Show the notes.", "tinytown_beads.note_commands:recall", section="Agents"),
    Command("forget", "Remove a note from all prompts.", "tinytown_beads.note_commands:forget", section="Agents"),
)
