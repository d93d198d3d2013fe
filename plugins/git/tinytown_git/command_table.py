"""The commands that the plugin adds, each with the module that is imported when it is typed. Nothing else."""

from __future__ import annotations

from tinytown_cli.contracts import Command

_MODULES = "tinytown_git.commands"
_REVIEW = "Review and merge"

COMMANDS: tuple[Command, ...] = (
    Command("merge", "See and steer the merge queue.", f"{_MODULES}.merge:merge", section=_REVIEW),
    Command("review", "Show the work on a task.", f"{_MODULES}.review:review", section=_REVIEW),
    Command("diff", "Show what was changed for a task.", f"{_MODULES}.review:diff", section=_REVIEW),
    Command("approve", "Approve the work on a task.", f"{_MODULES}.review:approve", section=_REVIEW),
    Command("reject", "Send the work on a task back.", f"{_MODULES}.review:reject", section=_REVIEW),
    Command("rescue", "Find work that was kept, and restore it.", f"{_MODULES}.rescue:rescue", section=_REVIEW),
    Command("reserve", "Tell others what you are about to change.", f"{_MODULES}.reserve:reserve", section=_REVIEW),
    Command("reservations", "List what is reserved.", f"{_MODULES}.reserve:reservations", section=_REVIEW),
    Command("release", "End reservations.", f"{_MODULES}.reserve:release", section=_REVIEW),
    Command("ledger", "See and restore the town's history in git.", f"{_MODULES}.ledger:ledger", section="The town"),
    Command("gc", "Remove worktrees of finished tasks.", f"{_MODULES}.gc:gc", section=_REVIEW),
)
