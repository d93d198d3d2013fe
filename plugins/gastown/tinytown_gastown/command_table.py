"""The commands that the plugin adds, each with the module that is imported when it is typed. Nothing else."""

from __future__ import annotations

from tinytown_cli.contracts import Command

COMMANDS: tuple[Command, ...] = (
    Command(
        "beads from-gastown",
        "Make a town for each rig of a Gastown town.",
        "tinytown_gastown.migration.command:from_gastown",
        section="Work",
    ),
    Command(
        "formula", "Run work defined as steps in a file.", "tinytown_gastown.formulas.commands:formula", section="Work"
    ),
    Command("sling", "Assign work to an agent and start it.", "tinytown_gastown.verbs.sling:sling", section="Work"),
    Command("hook", "Show the work of an agent.", "tinytown_gastown.verbs.context:hook", section="Work"),
    Command(
        "prime", "Print the context an agent needs to resume.", "tinytown_gastown.verbs.context:prime", section="Work"
    ),
    Command("done", "Report how a task ended.", "tinytown_gastown.verbs.finish:done", section="Work"),
    Command(
        "handoff",
        "End a round and continue its task in another.",
        "tinytown_gastown.verbs.finish:handoff",
        section="Work",
    ),
    Command("nudge", "Send an agent a short message.", "tinytown_gastown.verbs.messages:nudge", section="Work"),
    Command("peek", "Show the last report of an agent.", "tinytown_gastown.verbs.messages:peek", section="Work"),
    Command("escalate", "Ask a person for help.", "tinytown_gastown.verbs.messages:escalate", section="Work"),
    Command("mail", "Send, list and read mail, as Gastown does.", "tinytown_gastown.verbs.mail:mail", section="Work"),
    Command("convoy", "Groups of tasks, as convoys.", "tinytown_gastown.verbs.convoy:convoy", section="Work"),
    Command(
        "ready", "List the tasks that are ready to start.", "tinytown_gastown.verbs.dependencies:ready", section="Work"
    ),
    Command(
        "dep", "Show and change the dependencies of tasks.", "tinytown_gastown.verbs.dependencies:dep", section="Work"
    ),
)
