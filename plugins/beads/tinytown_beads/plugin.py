"""The hooks of the plugin. Apart from the package, so that typing a command imports none of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tinytown.contracts import Service
from tinytown.hookspecs import hookimpl
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown_cli.contracts import Command, Converter

from tinytown_beads.bead_prompt import bead_sections
from tinytown_beads.command_table import COMMANDS
from tinytown_beads.notes import note_sections
from tinytown_beads.settings import Settings

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
    from tinytown_beads.gates import BeadGateReconciler  # late: commands do without trio
    from tinytown_beads.groups.service import GroupReconciler

    return [GroupReconciler(), BeadGateReconciler(settings.gh)]


@hookimpl
def tinytown_prompt_sections(agent: Agent, task: Task | None, data: Mapping[str, Any]) -> Sequence[str]:
    return [*bead_sections(task), *note_sections(agent, data)]


@hookimpl(optionalhook=True)  # without a townhall there is no such hook
def tinytown_townhall_extensions() -> Sequence[object]:
    from tinytown_beads.groups.townhall import GroupsExtension

    return (GroupsExtension(),)
