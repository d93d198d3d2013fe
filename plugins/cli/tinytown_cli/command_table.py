"""The essential commands: name, one line of help, and where the code is, so that `tt --help` imports none of it."""

from __future__ import annotations

import gc
import importlib
from typing import NamedTuple


class Entry(NamedTuple):
    """A command of the table: ``target`` is ``module:attribute`` of a click command."""

    target: str
    help: str


#: Heading -> name -> entry, in the order in which `tt --help` shows them. Plugins fill those that are empty here.
SECTIONS: dict[str, dict[str, Entry]] = {
    "Start here": {
        "init": Entry("tinytown_cli.commands.init:init", "Create a town in this directory."),
        "spawn": Entry("tinytown_cli.commands.spawn:spawn", "Add an agent and start it."),
        "assign": Entry("tinytown_cli.commands.assign:assign", "Assign a task to an agent."),
        "status": Entry("tinytown_cli.commands.status:status", "Show the state of the town."),
        "wait": Entry("tinytown_cli.commands.wait:wait", "Wait until agents are idle or tasks are finished."),
        "stop": Entry("tinytown_cli.commands.kernel:stop", "Stop the kernel and the embedded server."),
        "help": Entry("tinytown_cli.commands.help:help_", "Show the help of a command, or find one by a topic."),
    },
    "Agents": {
        "list": Entry("tinytown_cli.commands.agents:list_agents", "List the agents."),
        "interrupt": Entry("tinytown_cli.commands.agents:interrupt", "Pause agents; they keep their work."),
        "resume": Entry("tinytown_cli.commands.agents:resume", "Resume paused, stopped or failed agents."),
        "close": Entry("tinytown_cli.commands.agents:close", "Drain agents: finish their work, then stop."),
        "kill": Entry("tinytown_cli.commands.agents:kill", "Stop agents."),
        "restart": Entry("tinytown_cli.commands.agents:restart", "Stop agents and start them again."),
        "remove": Entry("tinytown_cli.commands.agents:remove", "Remove stopped agents from the town."),
        "roles": Entry("tinytown_cli.commands.roles:roles", "List the roles that agents may have."),
    },
    "Tasks": {
        "task": Entry("tinytown_cli.commands.tasks:task", "Show and settle tasks."),
        "backlog": Entry("tinytown_cli.commands.backlog:backlog", "Manage tasks that no agent has yet."),
    },
    "Mail and questions": {
        "send": Entry("tinytown_cli.commands.mail:send", "Send a message."),
        "inbox": Entry("tinytown_cli.commands.mail:inbox", "Show the messages in a mailbox."),
        "dead": Entry("tinytown_cli.commands.dead_letters:dead", "Manage messages that could not be delivered."),
    },
    "Monitor": {
        "events": Entry("tinytown_cli.commands.events:events", "Show events; --follow prints new ones as they occur."),
    },
    "Review and merge": {},
    "Plans, groups, formulas": {},
    "Verbs of Gastown": {},
    "The town": {
        "start": Entry(
            "tinytown_cli.commands.kernel:start", "Run the town's kernel, in the foreground or in the background."
        ),
        "reload": Entry("tinytown_cli.commands.kernel:reload", "Have the kernel take up new plugins and settings."),
        "estop": Entry("tinytown_cli.commands.freeze:estop", "Emergency stop: freeze every running process."),
        "thaw": Entry("tinytown_cli.commands.freeze:thaw", "Resume a frozen town."),
        "where": Entry("tinytown_cli.commands.place:where", "Show where everything of the town is."),
        "uninstall": Entry("tinytown_cli.commands.place:uninstall", "Remove the town from this machine."),
    },
    "More": {
        "plugins": Entry("tinytown_cli.commands.plugins:plugins", "List the installed plugins and what each adds."),
        "completion": Entry("tinytown_cli.commands.version:completion", "Print the completion script of a shell."),
        "version": Entry("tinytown_cli.commands.version:version", "Print the version."),
    },
}

#: Words that people type for a command -> the words of the command. They are not listed.
ALIASES: dict[str, tuple[str, ...]] = {"agents": ("list",), "tasks": ("task", "list")}

#: Sections that only plugins use come before this one.
LAST_SECTION = "More"

COMMANDS: dict[str, Entry] = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


def load(target: str) -> object:
    """What ``module:attribute`` names."""
    from tinytown_cli.deferred_modules import stop_deferring

    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    finally:
        # `__main__` switches on deferring, and collection off: importing makes no garbage worth a search, and modules stay.
        stop_deferring()
        gc.freeze()
        gc.enable()
