"""The commands that the plugin adds, each with the module that is imported when it is typed. Nothing else."""

from __future__ import annotations

from tinytown.contracts import Command

COMMANDS: tuple[Command, ...] = (
    Command("beads", "Bring beads in, write them out, keep both in step.", "tinytown_beads.commands:beads"),
    Command("formula", "Work whose steps stand in a file.", "tinytown_beads.formulas.commands:formula"),
    Command("group", "Sets of tasks that belong together.", "tinytown_beads.groups.commands:group"),
    Command("sling", "Give work to an agent, and see that it begins.", "tinytown_beads.verbs.work:sling"),
    Command("hook", "What an agent has to do.", "tinytown_beads.verbs.work:hook"),
    Command("prime", "What an agent has to know to go on.", "tinytown_beads.verbs.work:prime"),
    Command("done", "Say how a task ended.", "tinytown_beads.verbs.work:done"),
    Command("handoff", "End a round, and have its task go on in another.", "tinytown_beads.verbs.work:handoff"),
    Command("nudge", "Tell an agent something.", "tinytown_beads.verbs.talk:nudge"),
    Command("peek", "What an agent reported last.", "tinytown_beads.verbs.talk:peek"),
    Command("escalate", "Ask a person for help.", "tinytown_beads.verbs.talk:escalate"),
    Command("ready", "What can be begun now.", "tinytown_beads.verbs.graph:ready"),
    Command("dep", "Which task waits for which.", "tinytown_beads.verbs.graph:dep"),
    Command("remember", "Leave a note for every prompt.", "tinytown_beads.verbs.note_commands:remember"),
    Command("recall", "Show the notes.", "tinytown_beads.verbs.note_commands:recall"),
    Command("forget", "Take a note out of all prompts.", "tinytown_beads.verbs.note_commands:forget"),
)
