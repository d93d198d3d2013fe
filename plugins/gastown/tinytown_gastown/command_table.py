"""The commands that the plugin adds, each with the module that is imported when it is typed. Nothing else."""

from __future__ import annotations

from tinytown_cli.contracts import Command

_PLANS = "Plans, groups, formulas"
_VERBS = "Verbs of Gastown"

COMMANDS: tuple[Command, ...] = (
    Command(
        "beads from-gastown",
        "Make a town for each rig of a Gastown town.",
        "tinytown_gastown.migration.command:from_gastown",
        section=_PLANS,
    ),
    Command(
        "formula", "Run work defined as steps in a file.", "tinytown_gastown.formulas.commands:formula", section=_PLANS
    ),
    Command("sling", "Assign work to an agent and start it.", "tinytown_gastown.verbs.sling:sling", section=_VERBS),
    Command("hook", "Show the work of an agent.", "tinytown_gastown.verbs.context:hook", section=_VERBS),
    Command(
        "prime", "Print the context an agent needs to resume.", "tinytown_gastown.verbs.context:prime", section=_VERBS
    ),
    Command("done", "Report how a task ended.", "tinytown_gastown.verbs.finish:done", section=_VERBS),
    Command(
        "handoff",
        "End a round and continue its task in another.",
        "tinytown_gastown.verbs.finish:handoff",
        section=_VERBS,
    ),
    Command("nudge", "Send an agent a short message.", "tinytown_gastown.verbs.messages:nudge", section=_VERBS),
    Command("peek", "Show the last report of an agent.", "tinytown_gastown.verbs.messages:peek", section=_VERBS),
    Command("escalate", "Ask a person for help.", "tinytown_gastown.verbs.messages:escalate", section=_VERBS),
    Command("mail", "Send, list and read mail, as Gastown does.", "tinytown_gastown.verbs.mail:mail", section=_VERBS),
    Command("convoy", "Groups of tasks, as convoys.", "tinytown_gastown.verbs.convoy:convoy", section=_VERBS),
    Command(
        "ready", "List the tasks that are ready to start.", "tinytown_gastown.verbs.dependencies:ready", section="Tasks"
    ),
    Command(
        "dep", "Show and change the dependencies of tasks.", "tinytown_gastown.verbs.dependencies:dep", section="Tasks"
    ),
)
