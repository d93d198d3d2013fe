"""The hooks of the plugin. Apart from the package, so that typing a command imports none of them."""

from __future__ import annotations

from collections.abc import Sequence

from tinytown.config import Config
from tinytown.contracts import Service
from tinytown.hookspecs import hookimpl
from tinytown_cli.contracts import Command

from tinytown_gastown.command_table import COMMANDS

TINYTOWN_HOOK_API = 2


@hookimpl
def tinytown_commands() -> Sequence[Command]:
    return COMMANDS


@hookimpl
def tinytown_services(config: Config) -> Sequence[Service]:
    from tinytown_beads.settings import read_settings  # late: commands do without trio

    from tinytown_gastown.formulas.service import GateReconciler

    return [GateReconciler(read_settings(config).gh)]
