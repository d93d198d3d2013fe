"""``[plugins.authority]``: what conductors may spawn, and which data of plugins rounds may change."""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which rounds may do more than their own work.

    - `spawn`: the kinds of agents that conductors may spawn: agents of a role with ``authority = "conductor"``.
    - `plugin_data`: plugins whose data in the town, and tables beside tasks, a round may change; such as the notes of
      ``tt remember``.
    """

    spawn: tuple[str, ...] = ()
    plugin_data: tuple[str, ...] = ("beads", "bd", "plan")
