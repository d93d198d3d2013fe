"""Which plugins are installed, what they contribute, and what is wrong with them.

pluggy's own loader does not fit: one ImportError ends everything, the second of two plugins of one name is dropped without
a message, and one exception loses every answer to a hook. So each plugin has a manager of its own (`loader`) and is called
alone (`manager`). There is no global manager: a `Plugins` is a value that its caller holds. Names are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinytown.entry_points import IndexedEntryPoint, cache_file, installed, read_cache, write_cache
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

_MODULES = {
    "loader": ("BLOCK_VARIABLE", "HOOKS", "Plugin", "PluginReport", "Status", "load_plugin"),
    "manager": ("Plugins", "load_plugins", "survey_plugins"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = next((f"{__name__}.{module}" for module, names in _MODULES.items() if name in names), None)
    return getattr(import_module(module or "tinytown.entry_points"), name)
