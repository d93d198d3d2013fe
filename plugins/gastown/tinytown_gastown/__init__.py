"""Gastown in a town: formulas, the commands of `gt`, the program `tt-bd`, and migration from a Gastown directory.

It stands on the public modules of `tinytown_beads` and keeps no data of its own: a run of a formula is a group of that
plugin, and its setting `gh` names the program that looks up pull requests and CI runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinytown.config import Config
from tinytown.contracts import Command, Service
from tinytown.hookspecs import hookimpl

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
