"""The hooks of the kernel, the marker to implement them with, and what a distribution needs to offer hooks of its own.

A plugin is a module named by an entry point of the group ``tinytown``. It sets ``TINYTOWN_HOOK_API = 2``, or the range of
versions that it is written for, ``(2, 3)``, and defines functions marked with `hookimpl`. A hook is a plain function: quick,
without IO, never ``async``. It *returns* objects, whose methods do the work (`tinytown.contracts`). It names only the arguments
it wants, and gives none a default.

Arguments: ``settings`` is the plugin's own table of the configuration, read as its settings type (None without one),
``config`` the town's whole configuration, ``root`` the town's root directory as an absolute path. Every hook may raise
ConfigError for what the person configured: the town then does not start. Any other exception makes the plugin faulty: it
loses this answer and nothing more, and no other plugin loses anything. Hooks exist since API 1 unless they say otherwise.

A distribution that calls plugins itself, such as the command line, names a module like this one in the entry point group
``tinytown.hookspecs``: functions marked with `hookspec`, and ``CONTRIBUTIONS`` for those whose objects are collected by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pluggy

from tinytown import contracts
from tinytown.config import Config
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task

PROJECT = "tinytown"
ENTRY_POINT_GROUP = "tinytown"

#: The version of this page, and the oldest one that still holds. A plugin that is written for none between them is refused.
HOOK_API = 2
OLDEST_HOOK_API = 2

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Contribution(NamedTuple):
    """A kind of object that plugins contribute: the hook that returns it, its contract, and the attribute that names it.

    A contract that is no Protocol is the class itself. `check` replaces the rule that a name is one word: it is called with
    the object and raises ValueError with what was expected.
    """

    hook: str
    contract: type
    key: str = "name"
    check: Callable[[Any], None] | None = None


#: What the kernel collects, by kind.
CONTRIBUTIONS = {
    "backends": Contribution("tinytown_agent_backends", contracts.AgentBackend, "kind"),
    "workspaces": Contribution("tinytown_workspaces", contracts.Workspace),
    "gates": Contribution("tinytown_gates", contracts.Gate),
    "services": Contribution("tinytown_services", contracts.Service),
    "question_handlers": Contribution("tinytown_question_handlers", contracts.QuestionHandler),
    "failure_handlers": Contribution("tinytown_failure_handlers", contracts.FailureHandler),
    "round_access": Contribution("tinytown_round_access", contracts.RoundAccess),
    "round_observers": Contribution("tinytown_round_observers", contracts.RoundObserver),
    "sandboxes": Contribution("tinytown_sandboxes", contracts.Sandbox),
}

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
def tinytown_workspaces(settings: Any, config: Config, root: Path) -> Sequence[contracts.Workspace]:  # type: ignore[empty-body]
    """Providers of directories to work in. The first one that claims a round serves it."""


@hookspec
def tinytown_gates(settings: Any, config: Config, root: Path) -> Sequence[contracts.Gate]:  # type: ignore[empty-body]
    """Checks that a submitted task has to pass, all of them."""


@hookspec
def tinytown_services(settings: Any, config: Config, root: Path, plugins: Any) -> Sequence[contracts.Service]:  # type: ignore[empty-body]
    """Services that run as long as the kernel, whose plugins are `plugins` (`tinytown.plugin.Plugins`)."""


@hookspec
def tinytown_question_handlers(settings: Any, config: Config, root: Path) -> Sequence[contracts.QuestionHandler]:  # type: ignore[empty-body]
    """Who answers what sessions ask, in turn. Since API 2."""


@hookspec
def tinytown_failure_handlers(settings: Any, config: Config, root: Path) -> Sequence[contracts.FailureHandler]:  # type: ignore[empty-body]
    """Who is asked before a task fails, in turn. Since API 2."""


@hookspec
def tinytown_round_access(settings: Any, config: Config, root: Path) -> Sequence[contracts.RoundAccess]:  # type: ignore[empty-body]
    """How the processes of rounds reach the town; without one only those in no box do. Since API 2."""


@hookspec
def tinytown_round_observers(settings: Any, config: Config, root: Path) -> Sequence[contracts.RoundObserver]:  # type: ignore[empty-body]
    """Who watches rounds, all of them. Since API 2."""


@hookspec
def tinytown_sandboxes(settings: Any, config: Config, root: Path) -> Sequence[contracts.Sandbox]:  # type: ignore[empty-body]
    """Sandboxes for agents whose permissions are not ``full``. Since API 2."""


# -- called while the town works, each time anew: answer quickly -------------------------------------------------


@hookspec(firstresult=True)
def tinytown_prompt(
    parts: contracts.PromptParts, settings: Any, config: Config, root: Path, plugins: Any
) -> str | None:
    """The whole prompt of a round, Markdown; None for no opinion, the first plugin with one decides.

    Called by the kernel for each round, in the task of the agent; `plugins` are its own (`tinytown.plugin.Plugins`). Without any
    answer the prompt is the task, the mail and the sections of plugins. Since API 2.
    """


@hookspec
def tinytown_prompt_sections(  # type: ignore[empty-body]
    agent: Agent, task: Task | None, data: Mapping[str, Any], settings: Any, config: Config, root: Path
) -> Sequence[str]:  # pyright: ignore[reportReturnType]
    """Paragraphs of Markdown to add to an agent's prompt.

    Called by the kernel for each round, in the task of the agent. `task` is None for a round of mail alone; `data` is what
    the plugin keeps in the town, field by field, at most a few seconds old.
    """


@hookspec
def tinytown_round_environment(  # type: ignore[empty-body]
    agent: Agent, task: Task | None, settings: Any, config: Config, root: Path
) -> Mapping[str, str]:  # pyright: ignore[reportReturnType]
    """Variables to add to the environment of a round, and of the workspaces and gates of its task.

    Called by the kernel for each of them. Of two plugins that set a variable, the later one decides; those that begin with
    ``TINYTOWN_`` are the kernel's. Since API 2.
    """


@hookspec(firstresult=True)
def tinytown_choose_agent(
    task: Task, agents: Sequence[Agent], data: Mapping[str, Any], settings: Any, config: Config, root: Path
) -> str | None:
    """The name of the agent for a task of the backlog; None for no opinion, the first plugin with one decides.

    Called by a kernel whenever a task reaches the backlog. `agents` are those that may be given work, possibly none, with
    their load in `open_tasks` and `mail`; `data` is as for prompts. A name that is not among them counts as no opinion.
    """
