"""Which plugins are installed, what they contribute, and what is wrong with them.

Each plugin has a manager of its own (`loader`) and is called alone (`manager`), so that an error of one, or two of one name,
cost no other plugin anything. There is no global manager: a `Plugins` is a value that its caller holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinytown.exports import lazy_exports

if TYPE_CHECKING:
    from tinytown.plugin.loader import (
        Plugin as Plugin,
        PluginReport as PluginReport,
        Status as Status,
        load_plugin as load_plugin,
    )
    from tinytown.plugin.manager import (
        Plugins as Plugins,
        load_plugins as load_plugins,
        survey_plugins as survey_plugins,
    )

__getattr__ = lazy_exports(
    __name__,
    {
        "loader": "Plugin PluginReport Status load_plugin",
        "manager": "Plugins load_plugins survey_plugins",
    },
)
