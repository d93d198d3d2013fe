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
        "init": Entry("tinytown.cli.init:init", "Make a town in this directory."),
        "start": Entry("tinytown.cli.kernel:start", "Run the town's kernel: in the foreground, or with --background."),
        "stop": Entry("tinytown.cli.kernel:stop", "Stop the kernel and the embedded server."),
        "estop": Entry("tinytown.cli.freezing:estop", "Freeze everything that runs, at once."),
        "thaw": Entry("tinytown.cli.freezing:thaw", "Let a frozen town go on."),
        "status": Entry("tinytown.cli.status:status", "The whole town at one glance."),
        "save": Entry("tinytown.cli.saving:save", "Write the town into a file, for git."),
        "restore": Entry("tinytown.cli.saving:restore", "Bring back what tt save wrote."),
        "reset": Entry("tinytown.cli.saving:reset", "Take everything out of the town."),
        "migrate": Entry("tinytown.cli.migrate:migrate", "Bring a town of Tinytown 0.10 along."),
        "hosts": Entry("tinytown.cli.hosts:hosts", "The kernels that take part, on all machines."),
        "recover": Entry("tinytown.cli.recover:recover", "Show what is dead or stuck, and what becomes of it."),
        "doctor": Entry("tinytown.cli.doctor:doctor", "Look for what is wrong, and say how to mend it."),
        "bootstrap": Entry("tinytown.cli.bootstrap:bootstrap", "Say which server is used, and what is missing."),
        "towns": Entry("tinytown.cli.towns:towns", "List your towns and how each of them is."),
        "config": Entry("tinytown.cli.config:config", "Look at settings and change them."),
        "demo": Entry("tinytown.cli.demo:demo", "Watch four scripted agents build a small tool, from plan to review."),
    },
    "Agents": {
        "spawn": Entry("tinytown.cli.agents:spawn", "Add an agent and set it to work."),
        "list": Entry("tinytown.cli.agents:list_agents", "List the agents."),
        "interrupt": Entry("tinytown.cli.agents:interrupt", "Pause agents; their work stays with them."),
        "resume": Entry("tinytown.cli.agents:resume", "Let paused, stopped or failed agents go on."),
        "close": Entry("tinytown.cli.agents:close", "Let agents finish what they have, then stop."),
        "kill": Entry("tinytown.cli.agents:kill", "Stop agents."),
        "restart": Entry("tinytown.cli.agents:restart", "Stop agents and start them afresh."),
        "prompt": Entry("tinytown.cli.prompt:prompt", "What an agent's next round would be told."),
        "roles": Entry("tinytown.cli.roles:roles", "What agents may be for."),
        "remove": Entry("tinytown.cli.agents:remove", "Take a stopped agent out of the town."),
        "reclaim": Entry("tinytown.cli.reclaim:reclaim", "Take back what stopped agents have."),
        "prune": Entry("tinytown.cli.reclaim:prune", "Take all stopped agents out of the town; their work stays."),
        "wait": Entry("tinytown.cli.waiting:wait", "Wait until agents are idle, or a task is finished."),
    },
    "Cost and accounts": {
        "costs": Entry("tinytown.cli.costs:costs", "What rounds have cost, by agent, task, day or kind."),
        "budget": Entry("tinytown.cli.costs:budget", "What is left of the budgets."),
        "accounts": Entry("tinytown.cli.accounts:accounts", "Accounts that agents use, and which are throttled."),
    },
    "Work": {
        "assign": Entry("tinytown.cli.tasks:assign", "Give an agent a task."),
        "task": Entry("tinytown.cli.tasks:task", "Show tasks and settle them."),
        "backlog": Entry("tinytown.cli.backlog:backlog", "Tasks that nobody has yet."),
        "plan": Entry("tinytown.cli.plan:plan", "Show the plan in tasks.toml, or begin one."),
        "sync": Entry("tinytown.cli.sync:sync", "Send the plan to the town; write back how far it is."),
    },
    "Mail": {
        "send": Entry("tinytown.cli.mail:send", "Send a message."),
        "inbox": Entry("tinytown.cli.mail:inbox", "Show what lies in a mailbox."),
        "trace": Entry("tinytown.cli.trace:trace", "Where a message has been, and when."),
        "dead": Entry("tinytown.cli.dead:dead", "Messages that could not be delivered."),
    },
    "More": {
        "conductor": Entry("tinytown.cli.conductor:conductor", "Talk with a coding CLI that runs the town for you."),
        "top": Entry("tinytown.cli.top:top", "Watch the town at work, on one screen."),
        "history": Entry("tinytown.cli.history:history", "The rounds that have ended, and one of them in full."),
        "logs": Entry("tinytown.cli.logs:logs", "What an agent's processes write."),
        "events": Entry("tinytown.cli.happenings:events", "What happened; with --follow, what happens."),
        "plugins": Entry("tinytown.cli.plugins:plugins", "The installed plugins and what each of them adds."),
        "agent-tools": Entry(
            "tinytown.cli.agent_tools.command:agent_tools", "Serve an agent's tools to its coding CLI."
        ),
        "plugin": Entry("tinytown.cli.plugin:plugin", "Write a plugin: begin one, and test what it promises."),
        "completion": Entry("tinytown.cli.version:completion", "Print the completion script of a shell."),
        "version": Entry("tinytown.cli.version:version", "Print the version."),
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
