"""The hooks of the plugin. Apart from the package, so that typing a command imports none of them."""

from __future__ import annotations

from collections.abc import Sequence

from tinytown.contracts import Gate
from tinytown.hookspecs import hookimpl
from tinytown.model.tasks import Task
from tinytown_cli.contracts import Command

from tinytown_results.settings import Settings

TINYTOWN_HOOK_API = 2


@hookimpl
def tinytown_settings_type() -> type[Settings]:
    return Settings


@hookimpl
def tinytown_commands() -> Sequence[Command]:
    return (
        Command(
            "task result", "Print the checked result of a task as JSON.", "tinytown_results.command:result", "Tasks"
        ),
    )


@hookimpl(tryfirst=True)  # what is to be merged is looked at only if it is what was asked for
def tinytown_gates(settings: Settings) -> list[Gate]:
    from tinytown_results.gate import ResultGate

    return [ResultGate(settings)]


@hookimpl
def tinytown_prompt_sections(task: Task | None) -> Sequence[str]:
    from tinytown_results.prompt import section

    return [section(task)] if task is not None and task.meta.get("results") is not None else []
