"""The hooks that a plugin may implement, and the marker to do it with; nothing else.

A plugin is a module named by an entry point of the group ``tinytown``. It sets ``TINYTOWN_HOOK_API = 1`` and defines
functions marked with `hookimpl`. Hooks are plain functions: quick, without IO, never ``async``; they *return* objects,
and the objects' methods do the work (`tinytown.contracts`). An implementation names only the arguments it wants, and
gives none of them a default.

What the arguments are: ``settings`` is the plugin's own table of the configuration as its settings type (None without
one), ``config`` the whole town's, and ``root`` the town's root directory, as an absolute path. A hook that cannot make
anything of what the person wrote raises ConfigError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pluggy

from tinytown.config import Config
from tinytown.contracts import AgentBackend, Command, Converter, Gate, Service, StatusSink, Workspace
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task

PROJECT = "tinytown"
ENTRY_POINT_GROUP = "tinytown"

#: The version of this page. A plugin that was written for another number is refused.
HOOK_API = 1

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def tinytown_settings_type() -> type | None:
    """The msgspec Struct that ``[plugins.<name>]`` is read as; its instance is the `settings` of the other hooks."""


@hookspec
def tinytown_agent_backends(settings: Any, config: Config, root: Path) -> Sequence[AgentBackend]:  # type: ignore[empty-body]
    """Backends for agents, each of a kind that `--cli` takes."""


@hookspec
def tinytown_converters(settings: Any) -> Sequence[Converter]:  # type: ignore[empty-body]
    """Converters between a format and tasks."""


@hookspec
def tinytown_status_sinks(settings: Any, config: Config, root: Path) -> Sequence[StatusSink]:  # type: ignore[empty-body]
    """Sinks for the town's events."""


@hookspec
def tinytown_workspaces(settings: Any, config: Config, root: Path) -> Sequence[Workspace]:  # type: ignore[empty-body]
    """Providers of places to work in."""


@hookspec
def tinytown_gates(settings: Any, config: Config, root: Path) -> Sequence[Gate]:  # type: ignore[empty-body]
    """Checks that submitted tasks have to pass."""


@hookspec
def tinytown_services(settings: Any, config: Config, root: Path) -> Sequence[Service]:  # type: ignore[empty-body]
    """Services that live as long as the kernel."""


@hookspec
def tinytown_commands() -> Sequence[Command]:  # type: ignore[empty-body]
    """Commands for the command line; the code behind one is imported only when it is typed."""


@hookspec
def tinytown_prompt_sections(  # type: ignore[empty-body]
    agent: Agent, task: Task | None, data: Mapping[str, Any]
) -> Sequence[str]:  # pyright: ignore[reportReturnType]
    """Paragraphs of Markdown to add to an agent's prompt. `data` is what the plugin keeps in the town, field by field."""


@hookspec(firstresult=True)
def tinytown_choose_agent(task: Task, agents: Sequence[Agent]) -> str | None:
    """The name of the agent that a task is for, or None for no opinion; the first plugin with one decides."""
