"""The commands that the plugin adds, each with the module that is imported when it is typed. Nothing else."""

from __future__ import annotations

from tinytown_cli.contracts import Command

COMMANDS: tuple[Command, ...] = (
    Command(
        "beads from-gastown",
        "Make a town for each rig of a Gastown town.",
        "tinytown_gastown.migration.command:from_gastown",
        section="Plans, groups, formulas",
    ),
    Command(
        "formula",
        "Run work defined as steps in a file.",
        "tinytown_gastown.formulas.commands:formula",
        section="Plans, groups, formulas",
    ),
    Command(
        "sling",
        "Assign work to an agent and start it.",
        "tinytown_gastown.verbs.sling:sling",
        section="Verbs of Gastown",
    ),
    Command("hook", "Show the work of an agent.", "tinytown_gastown.verbs.context:hook", section="Verbs of Gastown"),
    Command(
        "prime",
        "Print the context an agent needs to resume.",
        "tinytown_gastown.verbs.context:prime",
        section="Verbs of Gastown",
    ),
    Command("done", "Report how a task ended.", "tinytown_gastown.verbs.finish:done", section="Verbs of Gastown"),
    Command(
        "handoff",
        "End a round and continue its task in another.",
        "tinytown_gastown.verbs.finish:handoff",
        section="Verbs of Gastown",
    ),
    Command(
        "nudge", "Send an agent a short message.", "tinytown_gastown.verbs.messages:nudge", section="Verbs of Gastown"
    ),
    Command(
        "peek", "Show the last report of an agent.", "tinytown_gastown.verbs.messages:peek", section="Verbs of Gastown"
    ),
    Command(
        "escalate", "Ask a person for help.", "tinytown_gastown.verbs.messages:escalate", section="Verbs of Gastown"
    ),
    Command(
        "mail",
        "Send, list and read mail, as Gastown does.",
        "tinytown_gastown.verbs.mail:mail",
        section="Verbs of Gastown",
    ),
    Command(
        "convoy", "Groups of tasks, as convoys.", "tinytown_gastown.verbs.convoy:convoy", section="Verbs of Gastown"
    ),
    Command(
        "ready", "List the tasks that are ready to start.", "tinytown_gastown.verbs.dependencies:ready", section="Tasks"
    ),
    Command(
        "dep", "Show and change the dependencies of tasks.", "tinytown_gastown.verbs.dependencies:dep", section="Tasks"
    ),
)
