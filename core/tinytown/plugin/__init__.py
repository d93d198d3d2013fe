"""Which plugins are installed, what they offer, and what is wrong with them.

pluggy's own loader would not do: it lets one ImportError end everything, drops the second of two plugins of one name in
silence, and loses every answer of a hook when one plugin raises. So each plugin gets a manager of its own (`installed`)
and is asked for itself (`shelves`). There is no global manager: a `Plugins` is a value that whoever loads it holds.
"""

from __future__ import annotations

from pathlib import Path

from tinytown.config import Config
from tinytown.plugin.loader import BLOCK_VARIABLE, HOOKS, PluginReport, Status
from tinytown.plugin.manager import Plugins

__all__ = ["BLOCK_VARIABLE", "HOOKS", "PluginReport", "Plugins", "Status", "load_plugins", "survey_plugins"]


def load_plugins(config: Config, root: Path) -> Plugins:
    """The plugins of the town at `root`, ready for use. What is wrong with one that nobody asked for is only reported.

    Raises: ConfigError for settings that do not fit, with `key` as in ``plugins.journal.path``, and for a table
    ``[agent_clis.NAME]`` that no plugin understands; PluginError for a plugin that the configuration names but that is
    missing, refused or faulty, and with ``strict_plugins`` for any problem of any plugin.
    """
    plugins = survey_plugins(config, root)
    plugins.check()
    return plugins


def survey_plugins(config: Config, root: Path) -> Plugins:
    """Like `load_plugins`, but never raises for what is wrong: for looking at plugins, and for their commands.

    It imports every plugin, so a quick command asks only for words that are none of the kernel's own.
    """
    return Plugins(config, root)
