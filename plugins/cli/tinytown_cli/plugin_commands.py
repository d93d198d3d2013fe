"""The plugins as commands need them: loaded as the town's kernel loads them, surveyed with all their faults, or only the
one whose command is typed.

Loading a plugin imports it, so nothing is imported before it is needed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from tinytown.config import Config, load_config
from tinytown.errors import NotFound, PluginFaulty, PluginRefused, TinytownError, UsageError
from tinytown.model.text import shown
from tinytown.packages import install_hint

from tinytown_cli.command_index import announcing, blocked_by_environment, contributions
from tinytown_cli.command_table import load
from tinytown_cli.context import CliContext
from tinytown_cli.suggestions import did_you_mean

if TYPE_CHECKING:
    from tinytown.plugin import Plugins


def load_town_plugins(root: Path, config: Config, *, strict: bool = True) -> Plugins:
    """The plugins as the town's kernel would load them, with its errors, which `strict=False` leaves out."""
    from tinytown.plugin import load_plugins, survey_plugins

    return load_plugins(config, root) if strict else survey_plugins(config, root)


def survey(context: CliContext) -> Plugins:
    """The plugins with all that is wrong with them; outside of a town, those that are installed."""
    from tinytown.plugin import survey_plugins

    try:
        root = context.town_root()
    except NotFound:
        return survey_plugins(config_here(context), Path.cwd())
    return survey_plugins(load_config(root), root)


def config_here(context: CliContext) -> Config:
    """The settings of the town; outside of one, those that every town begins with."""
    try:
        return load_config(context.town_root())
    except NotFound:
        if context.town:
            raise
        return Config(name="nowhere")


def load_command(context: CliContext, name: str) -> click.Command | None:
    """The command of a plugin, imported; None if there is none of this name, or its plugin is blocked or faulty.

    Imports the command's module alone, and the plugin's own if its answer is not in the index. Raises: PluginRefused when
    two plugins have a command of this name; PluginFaulty when it cannot be loaded.
    """
    # Without an announcement only the answers of all plugins tell.
    candidates = contributions(_blocked(context), announcing(name)).named(name)
    if not candidates:
        return None
    entry, *others = candidates
    if others:
        raise PluginRefused(
            f"the plugins {' and '.join(repr(candidate.plugin) for candidate in candidates)} both add the command {name!r}",
            hint=f"block one of them: blocked_plugins = [{others[-1].plugin!r}]",
            stage="command",
        )
    try:
        command = load(entry.target)
    except Exception as error:
        raise PluginFaulty(
            f"the command {name!r} of plugin {entry.plugin!r} cannot be loaded from {entry.target}: "
            f"{type(error).__name__}: {error}",
            hint="tt plugins",
            plugin=entry.plugin,
            distribution=entry.distribution,
            stage="command",
        ) from error
    if not isinstance(command, click.Command):
        raise PluginFaulty(
            f"expected a click command at {entry.target}, got {type(command).__name__}",
            plugin=entry.plugin,
            distribution=entry.distribution,
            stage="command",
        )
    return command


def unknown_command(ctx: click.Context, name: str, known: Sequence[str]) -> Exception:
    """The error for the command `name` that does not exist, is not available, or is not installed.

    `known` are the last words of the commands that could be meant.
    """
    if distributions := announcing(name):
        return UsageError(
            f"the command {name!r} of {' and '.join(sorted(distributions))} is not available: "
            "its plugin is blocked or faulty",
            hint="tt plugins",
        )
    if hint := install_hint("commands", name):
        return UsageError(f"the command {name!r} is not installed", hint=hint)
    from tinytown_cli.rust_towns import old_command  # late: only an error needs it

    if hint := old_command(name):
        return UsageError(f"no such command: {shown(name)}", hint=hint)
    word, hint = name.rpartition(" ")[2], f"see {ctx.command_path} --help"
    return UsageError(f"no such command: {shown(name)}", hint=did_you_mean(word, known, hint))


def _blocked(context: CliContext) -> set[str]:
    """The plugins that the environment and the town's settings block. Settings that cannot be read block none."""
    blocked = blocked_by_environment()
    with contextlib.suppress(TinytownError):
        blocked.update(load_config(context.town_root()).blocked_plugins)
    return blocked
