"""Which commands there are: name, one line of help, and where the code is, so that `tt --help` imports none of it."""

from __future__ import annotations

import gc
import importlib
from typing import NamedTuple


class Entry(NamedTuple):
    """A command of the table: ``target`` is ``module:attribute`` of a click command."""

    target: str
    help: str


#: Heading -> name -> entry, in the order in which `tt --help` shows them.
SECTIONS: dict[str, dict[str, Entry]] = {
    "The town": {
        "init": Entry("tinytown_cli.commands.init:init", "Make a town in this directory."),
        "start": Entry(
            "tinytown_cli.commands.kernel:start", "Run the town's kernel: in the foreground, or with --background."
        ),
        "stop": Entry("tinytown_cli.commands.kernel:stop", "Stop the kernel and the embedded server."),
        "estop": Entry("tinytown_cli.commands.freeze:estop", "Freeze everything that runs, at once."),
        "thaw": Entry("tinytown_cli.commands.freeze:thaw", "Let a frozen town go on."),
        "status": Entry("tinytown_cli.commands.status:status", "The whole town at one glance."),
    },
    "Agents": {
        "spawn": Entry("tinytown_cli.commands.agents:spawn", "Add an agent and set it to work."),
        "list": Entry("tinytown_cli.commands.agents:list_agents", "List the agents."),
        "interrupt": Entry("tinytown_cli.commands.agents:interrupt", "Pause agents; their work stays with them."),
        "resume": Entry("tinytown_cli.commands.agents:resume", "Let paused, stopped or failed agents go on."),
        "close": Entry("tinytown_cli.commands.agents:close", "Let agents finish what they have, then stop."),
        "kill": Entry("tinytown_cli.commands.agents:kill", "Stop agents."),
        "restart": Entry("tinytown_cli.commands.agents:restart", "Stop agents and start them afresh."),
        "roles": Entry("tinytown_cli.commands.roles:roles", "What agents may be for."),
        "remove": Entry("tinytown_cli.commands.agents:remove", "Take a stopped agent out of the town."),
        "wait": Entry("tinytown_cli.commands.wait:wait", "Wait until agents are idle, or a task is finished."),
    },
    "Work": {
        "assign": Entry("tinytown_cli.commands.tasks:assign", "Give an agent a task."),
        "task": Entry("tinytown_cli.commands.tasks:task", "Show tasks and settle them."),
        "backlog": Entry("tinytown_cli.commands.backlog:backlog", "Tasks that nobody has yet."),
    },
    "Mail": {
        "send": Entry("tinytown_cli.commands.mail:send", "Send a message."),
        "inbox": Entry("tinytown_cli.commands.mail:inbox", "Show what lies in a mailbox."),
        "dead": Entry("tinytown_cli.commands.dead_letters:dead", "Messages that could not be delivered."),
    },
    "More": {
        "events": Entry("tinytown_cli.commands.events:events", "What happened; with --follow, what happens."),
        "plugins": Entry("tinytown_cli.commands.plugins:plugins", "The installed plugins and what each of them adds."),
        "completion": Entry("tinytown_cli.commands.version:completion", "Print the completion script of a shell."),
        "version": Entry("tinytown_cli.commands.version:version", "Print the version."),
    },
}

COMMANDS: dict[str, Entry] = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


def load(target: str) -> object:
    """What ``module:attribute`` names."""
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    finally:
        # Switched off by `__main__`: while modules are imported there is no garbage worth a search, and what they hold
        # stays, so that none is needed now either.
        gc.freeze()
        gc.enable()
