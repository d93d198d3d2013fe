"""The hooks of the plugin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinytown.config import Config
from tinytown.contracts import Gate, Service, Workspace
from tinytown.errors import ConfigError
from tinytown.hookspecs import hookimpl
from tinytown.model.agents import Agent
from tinytown.model.events import Event
from tinytown.model.tasks import Task
from tinytown_cli.contracts import Command, HealthCheck, StatusSection

from tinytown_git.command_table import COMMANDS
from tinytown_git.repository_files import has_repository
from tinytown_git.settings import Settings

TINYTOWN_HOOK_API = 2


@hookimpl
def tinytown_settings_type() -> type[Settings]:
    return Settings


@hookimpl
def tinytown_commands() -> Sequence[Command]:
    return COMMANDS


@hookimpl
def tinytown_workspaces(settings: Settings, config: Config, root: Path) -> list[Workspace]:
    if not _has_worktrees(settings, root):
        return []
    if any(count > 1 for count in (*config.batch.roles.values(), *config.batch.kinds.values())):
        raise ConfigError(
            "the tasks of a batch share one directory, but here each task has a worktree of its own",
            hint='set workspace = "shared" in [plugins.git], or remove [batch] from tinytown.toml',
            key="batch",
        )
    from tinytown_git.workspace import GitWorkspace

    return [GitWorkspace(settings, root)]


@hookimpl(trylast=True)
def tinytown_gates(settings: Settings, config: Config, root: Path) -> list[Gate]:
    if not _has_worktrees(settings, root):
        return []
    from tinytown_git.gate import GitGate
    from tinytown_git.workspace import GitWorkspace

    return [GitGate(settings, config, GitWorkspace(settings, root))]


@hookimpl
def tinytown_services(settings: Settings, config: Config, root: Path) -> list[Service]:
    services: list[Service] = []
    if settings.ledger:
        from tinytown_git.ledger.service import LedgerService

        services.append(LedgerService(settings, config))
    if not _has_worktrees(settings, root):
        return services
    from tinytown_git.housekeeping import Housekeeping
    from tinytown_git.queue import MergeQueue
    from tinytown_git.workspace import GitWorkspace

    workspace = GitWorkspace(settings, root)
    return [*services, Housekeeping(settings, workspace), MergeQueue(settings, config, workspace)]


def _has_worktrees(settings: Settings, root: Path) -> bool:
    """Whether tasks get worktrees here. A repository that is made later is noticed when the kernel starts again."""
    return settings.workspace == "worktree" and has_repository(root)


@hookimpl
def tinytown_health_checks(settings: Settings, config: Config, root: Path) -> list[HealthCheck]:
    from tinytown_git.seen import GitCheck

    return [GitCheck(settings, config, root)]


@hookimpl
def tinytown_status_sections() -> list[StatusSection]:
    from tinytown_git.seen import MergeSection

    return [MergeSection()]


@hookimpl
def tinytown_event_text(event: Event) -> str | None:
    from tinytown_git.seen import event_text

    return event_text(event)


@hookimpl(optionalhook=True)  # without a townhall there is no such hook
def tinytown_townhall_extensions(settings: Settings, root: Path) -> Sequence[object]:
    if not _has_worktrees(settings, root):
        return ()
    from tinytown_git.townhall import GitExtension

    return (GitExtension(settings, root),)


@hookimpl
def tinytown_init_note(config: Config, root: Path) -> str | None:
    from tinytown_git.commands.place import read_settings
    from tinytown_git.seen import init_note

    return init_note(read_settings(root, config), root)


@hookimpl
def tinytown_prompt_sections(
    agent: Agent, task: Task | None, data: Mapping[str, Any], settings: Settings, root: Path
) -> Sequence[str]:
    from tinytown_git.seen import reservations_for, section_for

    if task is None or not has_repository(root):
        return []
    own = [section_for(agent, task, settings)] if _has_worktrees(settings, root) else []
    return [*own, *reservations_for(agent, data)]


@hookimpl
def tinytown_round_environment(agent: Agent, task: Task | None, settings: Settings, root: Path) -> Mapping[str, str]:
    from tinytown_git.prepare import identity_variables, port_of
    from tinytown_git.worktrees import MAIL

    variables = dict(identity_variables(agent.name)) if settings.identity == "agent" else {}
    if settings.port_base:
        port = port_of(settings.worktrees_directory(root), settings.port_base, agent.name, task.id if task else MAIL)
        variables["PORT"] = str(port)
    return variables
