"""Which plugins are installed, what they contribute, and what is wrong with them.

Each plugin has a manager of its own (`loader`) and is called alone (`manager`), so that an error of one, or two of one name,
cost no other plugin anything. There is no global manager: a `Plugins` is a value that its caller holds.
"""

from __future__ import annotations

from tinytown.exports import lazy_exports

__getattr__ = lazy_exports(
    __name__,
    {
        "loader": "Plugin PluginReport Status load_plugin",
        "manager": "CURRENT_PLUGIN Plugins load_plugins survey_plugins",
    },
)
