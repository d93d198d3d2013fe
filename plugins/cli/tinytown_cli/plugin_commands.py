"""The town's plugins as commands need them: loaded as its kernel would, or surveyed with all that is wrong, and the commands
that they add.

Importing the registry imports every plugin, so nothing of it is imported before it is needed.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click
from tinytown.client import town_root
from tinytown.config import CONFIG_FILE, Config, convert_settings, load_config
from tinytown.contracts import Command
from tinytown.errors import NotFound, PluginFaulty
from tinytown.model.text import shown

from tinytown_cli.command_table import COMMANDS, load
from tinytown_cli.context import CliContext

if TYPE_CHECKING:
    from tinytown.plugin import Plugins

#: The group of entry points by which a plugin says which commands it has, so that none but it is imported for one of them.
COMMAND_HINTS = "tinytown.commands"


def load_town_plugins(root: Path, config: Config, *, strict: bool = True) -> Plugins:
    """The plugins as the town's kernel would load them, with its errors, which `strict=False` leaves out."""
    from tinytown.plugin import load_plugins, survey_plugins

    return load_plugins(config, root) if strict else survey_plugins(config, root)


def survey(context: CliContext) -> Plugins:
    """The plugins with all that is wrong with them; outside of a town, those that are installed."""
    from tinytown.plugin import survey_plugins

    try:
        root = town_root(context)
    except NotFound:
        return survey_plugins(Config(name="nowhere"), Path.cwd())
    return survey_plugins(load_config(root), root)


def plugin_command(context: CliContext, word: str) -> click.Command:
    """The command that a plugin offers under `word`. Raises: click.UsageError naming what is near; PluginFaulty."""
    quick = _quick_command(context, word)
    commands = {word: quick} if quick else survey(context).commands
    if word not in commands:
        near = difflib.get_close_matches(word, [*COMMANDS, *commands], n=3, cutoff=0.6)
        said = f"; do you mean {' or '.join(near)}?" if near else ""
        raise click.UsageError(f"no such command: {shown(word)}{said}", click.get_current_context())
    command = commands[word]
    try:
        found = load(command.target)
    except Exception as error:
        raise PluginFaulty(
            f"the command {word!r} cannot be loaded from {command.target}: {type(error).__name__}: {error}",
            hint="tt plugins shows whose it is",
            stage="command",
        ) from error
    if not isinstance(found, click.Command):
        raise PluginFaulty(f"expected a click command at {command.target}, got {type(found).__name__}", stage="command")
    return found


def _quick_command(context: CliContext, word: str) -> Command | None:
    """The command `word` of a plugin that says beforehand, by an entry point, that it has one: no other is imported then.

    The hook decides all the same. None when nobody says so, or when anything is wrong: then a survey tells what.
    """
    hints = tuple(importlib.metadata.entry_points(group=COMMAND_HINTS, name=word))
    if len(hints) != 1 or hints[0].dist is None:
        return None
    from tinytown.plugin.loader import BLOCK_VARIABLE, installed_plugins

    try:
        root = town_root(context)
        config = load_config(root)
    except NotFound:
        root, config = Path.cwd(), Config(name="nowhere")
    plugins = installed_plugins()
    ours = [each for each in plugins if each.distribution == hints[0].dist.name]
    blocked = {*config.blocked_plugins, *os.environ.get(BLOCK_VARIABLE, "").split(",")}
    if len(ours) != 1 or [each.name for each in plugins].count(ours[0].name) > 1 or blocked & {ours[0].name, "*"}:
        return None
    try:
        ours[0].load()
        for kind in ours[0].call("tinytown_settings_type", {}):
            table = config.plugins.get(ours[0].name, {})
            convert_settings(kind, table, root / CONFIG_FILE, f"plugins.{ours[0].name}")
        offered = [each for answer in ours[0].call("tinytown_commands", {}) for each in answer]
    except Exception:  # a stranger's code; the survey says what is wrong with it
        return None
    return next((each for each in offered if isinstance(each, Command) and each.name == word), None)
