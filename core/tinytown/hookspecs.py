"""The hooks that a plugin may implement, and the marker to do it with; nothing else.

A plugin is a module named by an entry point of the group ``tinytown``. It sets ``TINYTOWN_HOOK_API = 2`` and defines
functions marked with `hookimpl`. A hook is a plain function: quick, without IO, never ``async``. It *returns* objects,
whose methods do the work (`tinytown.contracts`). It names only the arguments it wants, and gives none a default.

Arguments: ``settings`` is the plugin's own table of the configuration, read as its settings type (None without one),
``config`` the town's whole configuration, ``root`` the town's root directory as an absolute path. Every hook may raise
ConfigError for what the person configured: the town then does not start. Any other exception makes the plugin faulty: it
loses this answer and nothing more, and no other plugin loses anything. Hooks exist since API 1 unless they say otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pluggy

from tinytown import contracts
from tinytown.config import Config
from tinytown.model.agents import Agent
from tinytown.model.events import Event
from tinytown.model.tasks import Task

PROJECT = "tinytown"
ENTRY_POINT_GROUP = "tinytown"

#: The version of this page. A plugin written for another one is refused.
HOOK_API = 2

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

# -- read when the plugins of a town are loaded: by its kernel at start, and by commands that look at plugins ---------


@hookspec
def tinytown_settings_type() -> type | None:
    """The msgspec Struct that ``[plugins.<name>]`` is read as; its instance is the `settings` of the other hooks.

    Called first. The struct has ``forbid_unknown_fields=True``, so that a misspelt key is an error with its path.
    """


@hookspec
def tinytown_agent_backends(settings: Any, config: Config, root: Path) -> Sequence[contracts.AgentBackend]:  # type: ignore[empty-body]
    """Backends for agents, each of a kind that ``--cli`` takes."""


@hookspec
def tinytown_converters(settings: Any) -> Sequence[contracts.Converter]:  # type: ignore[empty-body]
    """Converters between a file format and tasks, for ``tt task import`` and ``export``."""


@hookspec
def tinytown_status_sinks(settings: Any, config: Config, root: Path) -> Sequence[contracts.StatusSink]:  # type: ignore[empty-body]
    """Sinks for the town's events."""


@hookspec
def tinytown_workspaces(settings: Any, config: Config, root: Path) -> Sequence[contracts.Workspace]:  # type: ignore[empty-body]
    """Providers of directories to work in. The first one that claims a round serves it."""


@hookspec
def tinytown_gates(settings: Any, config: Config, root: Path) -> Sequence[contracts.Gate]:  # type: ignore[empty-body]
    """Checks that a submitted task has to pass, all of them."""


@hookspec
def tinytown_services(settings: Any, config: Config, root: Path) -> Sequence[contracts.Service]:  # type: ignore[empty-body]
    """Services that run as long as the kernel."""


# -- read by commands ------------------------------------------------------------------------------------


@hookspec
def tinytown_commands() -> Sequence[contracts.Command]:  # type: ignore[empty-body]
    """Commands for the command line; the code behind one is imported only when it is typed.

    Called outside of a town too. Each command also has an entry point of the group ``tinytown.commands``
    (``name = "module:attribute"``, with a dot for a space in the name), so that typing it imports no other plugin.
    """


@hookspec
def tinytown_completers() -> Sequence[contracts.Completer]:  # type: ignore[empty-body]
    """Sources of words for shell completion. Called when the shell completes a word of a plugin's command. Since API 2."""


@hookspec
def tinytown_health_checks(settings: Any, config: Config, root: Path) -> Sequence[contracts.HealthCheck]:  # type: ignore[empty-body]
    """What ``tt doctor`` looks at beside its own checks. Since API 2."""


@hookspec
def tinytown_status_sections(settings: Any, config: Config, root: Path) -> Sequence[contracts.StatusSection]:  # type: ignore[empty-body]
    """What ``tt status --deep`` shows beside the town itself. Since API 2."""


@hookspec
def tinytown_agent_tools(settings: Any, config: Config, root: Path) -> Sequence[contracts.AgentTool]:  # type: ignore[empty-body]
    """Tools for agents beside the town's own, served to their coding CLI over MCP. Since API 2."""


# -- called while the town works, each time anew: answer quickly -------------------------------------------------


@hookspec
def tinytown_prompt_sections(  # type: ignore[empty-body]
    agent: Agent, task: Task | None, data: Mapping[str, Any]
) -> Sequence[str]:  # pyright: ignore[reportReturnType]
    """Paragraphs of Markdown to add to an agent's prompt.

    Called by the kernel for each round, in the task of the agent. `task` is None for a round of mail alone; `data` is what
    the plugin keeps in the town, field by field, at most a few seconds old.
    """


@hookspec(firstresult=True)
def tinytown_reporting_guide(agent: Agent, town_tools: bool) -> contracts.ReportingGuide | None:
    """How the prompt says where to read more and how to report; None for no opinion, the first plugin with one decides.

    Called by the kernel for each round. With `town_tools` the agent's backend offers the town's tools. Without any
    answer the agent's final text counts as its report. Since API 2.
    """


@hookspec(firstresult=True)
def tinytown_choose_agent(task: Task, agents: Sequence[Agent]) -> str | None:
    """The name of the agent for a task of the backlog; None for no opinion, the first plugin with one decides.

    Called by a kernel whenever a task reaches the backlog. `agents` are those that may be given work, possibly none; a name
    that is not among them counts as no opinion.
    """


@hookspec(firstresult=True)
def tinytown_event_text(event: Event) -> str | None:
    """One line about an event of the plugin's own, for ``tt events`` and other screens; None for no opinion. Since API 2."""
