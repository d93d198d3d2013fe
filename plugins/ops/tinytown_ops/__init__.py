"""Tinytown plugin: see, explain and repair a town: doctor, top, history, costs and more."""

from __future__ import annotations

import msgspec
from tinytown.contracts import Command, Completer
from tinytown.hookspecs import hookimpl

TINYTOWN_HOOK_API = 2


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.ops]``. `conductor_cli`: the coding CLI that ``tt conductor`` runs, or a whole command."""

    conductor_cli: str | None = None


@hookimpl
def tinytown_settings_type() -> type[Settings]:
    return Settings


@hookimpl
def tinytown_commands() -> tuple[Command, ...]:
    """Also announced as entry points of the group `tinytown.commands`, by which they are found when typed."""
    return (
        Command(
            "hosts",
            "The kernels that take part, on all machines.",
            "tinytown_ops.explain.hosts_command:hosts",
            section="The town",
        ),
        Command(
            "recover",
            "Show what is dead or stuck, and what becomes of it.",
            "tinytown_ops.doctor.recover_command:recover",
            section="The town",
        ),
        Command(
            "doctor",
            "Look for what is wrong, and say how to mend it.",
            "tinytown_ops.doctor.command:doctor",
            section="The town",
        ),
        Command(
            "bootstrap",
            "Say which server is used, and what is missing.",
            "tinytown_ops.doctor.bootstrap_command:bootstrap",
            section="The town",
        ),
        Command(
            "towns",
            "List your towns and how each of them is.",
            "tinytown_ops.doctor.towns_command:towns",
            section="The town",
        ),
        Command(
            "config", "Look at settings and change them.", "tinytown_ops.settings.command:config", section="The town"
        ),
        Command(
            "prompt",
            "What an agent's next round would be told.",
            "tinytown_ops.explain.prompt_command:prompt",
            section="Agents",
        ),
        Command(
            "reclaim",
            "Take back what stopped agents have.",
            "tinytown_ops.doctor.reclaim_command:reclaim",
            section="Agents",
        ),
        Command(
            "prune",
            "Take all stopped agents out of the town; their work stays.",
            "tinytown_ops.doctor.reclaim_command:prune",
            section="Agents",
        ),
        Command(
            "costs",
            "What rounds have cost, by agent, task, day or kind.",
            "tinytown_ops.costs.costs_command:costs",
            section="Cost and accounts",
        ),
        Command(
            "budget",
            "What is left of the budgets.",
            "tinytown_ops.costs.costs_command:budget",
            section="Cost and accounts",
        ),
        Command(
            "accounts",
            "Accounts that agents use, and which are throttled.",
            "tinytown_ops.costs.accounts_command:accounts",
            section="Cost and accounts",
        ),
        Command(
            "trace", "Where a message has been, and when.", "tinytown_ops.explain.trace_command:trace", section="Mail"
        ),
        Command(
            "conductor",
            "Talk with a coding CLI that runs the town for you.",
            "tinytown_ops.conductor.command:conductor",
            section="More",
        ),
        Command("top", "Watch the town at work, on one screen.", "tinytown_ops.top.command:top", section="More"),
        Command(
            "history",
            "The rounds that have ended, and one of them in full.",
            "tinytown_ops.explain.history_command:history",
            section="More",
        ),
        Command("logs", "What an agent's processes write.", "tinytown_ops.explain.logs_command:logs", section="More"),
    )


@hookimpl
def tinytown_completers() -> tuple[Completer, ...]:
    return (
        Completer("accounts", "tinytown_ops.completers:accounts"),
        Completer("coding_clis", "tinytown_ops.completers:coding_clis"),
    )
