"""Beads in a town: import, export and sync without loss, ready work by the rules of `bd`, groups of tasks, notes in prompts.

Public to other plugins are these modules; the rest may change with any release:

- values: `bead`, `fields`, `json_text`, `lines`, `report`, `description`, `notes`, `groups.record`, `groups.progress`
- rules: `ready`, `mapping`, `origins`, `extra_fields`, `task_as_bead`, `view`
- a town: `store`, `settings`, `apply`, `exporting`, `syncing`, `convoys`, `groups.town`, `groups.service`
- the machine: `files`, `forge`

What a hook announces is built in the modules below and imported when it is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tinytown.contracts import Command, Converter, Service
from tinytown.hookspecs import hookimpl
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task

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
