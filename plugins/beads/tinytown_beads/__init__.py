"""Beads and Gastown: the plugin's hooks. What they announce is built in the modules below, and imported when it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tinytown.contracts import Command, Converter, Service
from tinytown.hookspecs import hookimpl
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task

from tinytown_beads.bead_prompt import bead_sections
from tinytown_beads.command_table import COMMANDS
from tinytown_beads.settings import Settings
from tinytown_beads.verbs.notes import section

TINYTOWN_HOOK_API = 2


@hookimpl
def tinytown_settings_type() -> type[Settings]:
    return Settings


@hookimpl
def tinytown_converters(settings: Settings) -> Sequence[Converter]:
    from tinytown_beads.converter import BeadConverter

    return [BeadConverter(settings.prefix or "tt")]


@hookimpl
def tinytown_commands() -> Sequence[Command]:
    return COMMANDS


@hookimpl
def tinytown_services(settings: Settings) -> Sequence[Service]:
    from tinytown_beads.formulas.service import GateKeeper  # late: commands do without trio
    from tinytown_beads.gates import BeadGateKeeper
    from tinytown_beads.groups.service import GroupKeeper

    return [GroupKeeper(), GateKeeper(settings.gh), BeadGateKeeper(settings.gh)]


@hookimpl
def tinytown_prompt_sections(agent: Agent, task: Task | None, data: Mapping[str, Any]) -> Sequence[str]:
    return [*bead_sections(task), *section(agent, data)]
