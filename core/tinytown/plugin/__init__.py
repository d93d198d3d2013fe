"""Which plugins are installed, what they contribute, and what is wrong with them.

pluggy's own loader does not fit: one ImportError ends everything, the second of two plugins of one name is dropped without
a message, and one exception loses every answer to a hook. So each plugin has a manager of its own (`loader`) and is called
alone (`manager`). There is no global manager: a `Plugins` is a value that its caller holds. Names are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinytown.plugin.index import IndexedEntryPoint, cache_file, installed, read_cache, write_cache
    from tinytown.plugin.loader import BLOCK_VARIABLE, HOOKS, Plugin, PluginReport, Status, load_plugin
    from tinytown.plugin.manager import Plugins, load_plugins, survey_plugins

__all__ = [
    "BLOCK_VARIABLE",
    "HOOKS",
    "IndexedEntryPoint",
    "Plugin",
    "PluginReport",
    "Plugins",
    "Status",
    "cache_file",
    "installed",
    "load_plugin",
    "load_plugins",
    "read_cache",
    "survey_plugins",
    "write_cache",
]

_HOMES = {
    "BLOCK_VARIABLE": "loader",
    "HOOKS": "loader",
    "IndexedEntryPoint": "index",
    "Plugin": "loader",
    "PluginReport": "loader",
    "Plugins": "manager",
    "Status": "loader",
    "cache_file": "index",
    "installed": "index",
    "load_plugin": "loader",
    "load_plugins": "manager",
    "read_cache": "index",
    "survey_plugins": "manager",
    "write_cache": "index",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
