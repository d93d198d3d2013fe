# What type checkers see of this package, whose names are imported when they are first used.

from tinytown.plugin.loader import (
    Plugin as Plugin,
    PluginReport as PluginReport,
    Status as Status,
    load_plugin as load_plugin,
)
from tinytown.plugin.manager import (
    CURRENT_PLUGIN as CURRENT_PLUGIN,
    Plugins as Plugins,
    load_plugins as load_plugins,
    survey_plugins as survey_plugins,
)
