"""The hooks of the plugin. Apart from the package, so that typing a command imports none of them."""

from __future__ import annotations

from collections.abc import Sequence

from tinytown.hookspecs import hookimpl
from tinytown_cli.contracts import Command

TINYTOWN_HOOK_API = 2


@hookimpl
def tinytown_commands() -> tuple[Command, ...]:
    """Also announced as entry points of the group `tinytown.commands`, by which they are found when typed."""
    return (
        Command(
            "plan",
            "Show the plan in tasks.toml, or start one.",
            "tinytown_plans.plan_command:plan",
            section="Plans, groups, formulas",
        ),
        Command(
            "sync",
            "Push the plan to the town; pull progress back.",
            "tinytown_plans.sync_command:sync",
            section="Plans, groups, formulas",
        ),
    )


@hookimpl(optionalhook=True)  # without a townhall there is no such hook
def tinytown_townhall_extensions() -> Sequence[object]:
    from tinytown_plans.townhall import PlansExtension

    return (PlansExtension(),)
