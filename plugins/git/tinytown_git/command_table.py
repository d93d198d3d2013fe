"""The commands that the plugin adds, each with the module that is imported when it is typed. Nothing else."""

from __future__ import annotations

from tinytown_cli.contracts import Command

_MODULES = "tinytown_git.commands"

COMMANDS: tuple[Command, ...] = (
    Command("merge", "See and steer the merge queue.", f"{_MODULES}.merge:merge", section="Review and merge"),
    Command("review", "Show the work on a task.", f"{_MODULES}.review:review", section="Review and merge"),
    Command("diff", "Show what was changed for a task.", f"{_MODULES}.review:diff", section="Review and merge"),
    Command("approve", "Approve the work on a task.", f"{_MODULES}.review:approve", section="Review and merge"),
    Command("reject", "Send the work on a task back.", f"{_MODULES}.review:reject", section="Review and merge"),
    Command(
        "rescue", "Find work that was kept, and restore it.", f"{_MODULES}.rescue:rescue", section="Review and merge"
    ),
    Command(
        "reserve",
        "Tell others what you are about to change.",
        f"{_MODULES}.reserve:reserve",
        section="Review and merge",
    ),
    Command("reservations", "List what is reserved.", f"{_MODULES}.reserve:reservations", section="Review and merge"),
    Command("release", "End reservations.", f"{_MODULES}.reserve:release", section="Review and merge"),
    Command("ledger", "See and restore the town's history in git.", f"{_MODULES}.ledger:ledger", section="The town"),
    Command("gc", "Remove worktrees of finished tasks.", f"{_MODULES}.gc:gc", section="Review and merge"),
)
