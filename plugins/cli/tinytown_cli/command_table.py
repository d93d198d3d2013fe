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
        "save": Entry("tinytown_snapshots.cli_commands:save", "Write the town into a file, for git."),
        "restore": Entry("tinytown_snapshots.cli_commands:restore", "Bring back what tt save wrote."),
        "reset": Entry("tinytown_snapshots.cli_commands:reset", "Take everything out of the town."),
        "migrate": Entry("tinytown_migrate.cli_commands:migrate", "Bring a town of Tinytown 0.10 along."),
        "hosts": Entry("tinytown_ops.explain.hosts_command:hosts", "The kernels that take part, on all machines."),
        "recover": Entry(
            "tinytown_ops.doctor.recover_command:recover", "Show what is dead or stuck, and what becomes of it."
        ),
        "doctor": Entry("tinytown_ops.doctor.command:doctor", "Look for what is wrong, and say how to mend it."),
        "bootstrap": Entry(
            "tinytown_ops.doctor.bootstrap_command:bootstrap", "Say which server is used, and what is missing."
        ),
        "towns": Entry("tinytown_ops.doctor.towns_command:towns", "List your towns and how each of them is."),
        "config": Entry("tinytown_ops.settings.command:config", "Look at settings and change them."),
        "demo": Entry(
            "tinytown_demo.command:demo", "Watch four scripted agents build a small tool, from plan to review."
        ),
    },
    "Agents": {
        "spawn": Entry("tinytown_cli.commands.agents:spawn", "Add an agent and set it to work."),
        "list": Entry("tinytown_cli.commands.agents:list_agents", "List the agents."),
        "interrupt": Entry("tinytown_cli.commands.agents:interrupt", "Pause agents; their work stays with them."),
        "resume": Entry("tinytown_cli.commands.agents:resume", "Let paused, stopped or failed agents go on."),
        "close": Entry("tinytown_cli.commands.agents:close", "Let agents finish what they have, then stop."),
        "kill": Entry("tinytown_cli.commands.agents:kill", "Stop agents."),
        "restart": Entry("tinytown_cli.commands.agents:restart", "Stop agents and start them afresh."),
        "prompt": Entry("tinytown_ops.explain.prompt_command:prompt", "What an agent's next round would be told."),
        "roles": Entry("tinytown_cli.commands.roles:roles", "What agents may be for."),
        "remove": Entry("tinytown_cli.commands.agents:remove", "Take a stopped agent out of the town."),
        "reclaim": Entry("tinytown_ops.doctor.reclaim_command:reclaim", "Take back what stopped agents have."),
        "prune": Entry(
            "tinytown_ops.doctor.reclaim_command:prune", "Take all stopped agents out of the town; their work stays."
        ),
        "wait": Entry("tinytown_cli.commands.wait:wait", "Wait until agents are idle, or a task is finished."),
    },
    "Cost and accounts": {
        "costs": Entry("tinytown_ops.costs.costs_command:costs", "What rounds have cost, by agent, task, day or kind."),
        "budget": Entry("tinytown_ops.costs.costs_command:budget", "What is left of the budgets."),
        "accounts": Entry(
            "tinytown_ops.costs.accounts_command:accounts", "Accounts that agents use, and which are throttled."
        ),
    },
    "Work": {
        "assign": Entry("tinytown_cli.commands.tasks:assign", "Give an agent a task."),
        "task": Entry("tinytown_cli.commands.tasks:task", "Show tasks and settle them."),
        "backlog": Entry("tinytown_cli.commands.backlog:backlog", "Tasks that nobody has yet."),
        "plan": Entry("tinytown_plans.plan_command:plan", "Show the plan in tasks.toml, or begin one."),
        "sync": Entry("tinytown_plans.sync_command:sync", "Send the plan to the town; write back how far it is."),
    },
    "Mail": {
        "send": Entry("tinytown_cli.commands.mail:send", "Send a message."),
        "inbox": Entry("tinytown_cli.commands.mail:inbox", "Show what lies in a mailbox."),
        "trace": Entry("tinytown_ops.explain.trace_command:trace", "Where a message has been, and when."),
        "dead": Entry("tinytown_cli.commands.dead_letters:dead", "Messages that could not be delivered."),
    },
    "More": {
        "conductor": Entry(
            "tinytown_ops.conductor.command:conductor", "Talk with a coding CLI that runs the town for you."
        ),
        "top": Entry("tinytown_ops.top.command:top", "Watch the town at work, on one screen."),
        "history": Entry(
            "tinytown_ops.explain.history_command:history", "The rounds that have ended, and one of them in full."
        ),
        "logs": Entry("tinytown_ops.explain.logs_command:logs", "What an agent's processes write."),
        "events": Entry("tinytown_cli.commands.events:events", "What happened; with --follow, what happens."),
        "plugins": Entry("tinytown_cli.commands.plugins:plugins", "The installed plugins and what each of them adds."),
        "agent-tools": Entry("tinytown_mcp.command:agent_tools", "Serve an agent's tools to its coding CLI."),
        "plugin": Entry("tinytown_testing.command:plugin", "Write a plugin: begin one, and test what it promises."),
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
