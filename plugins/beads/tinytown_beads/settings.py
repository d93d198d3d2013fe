"""``[plugins.beads]``: the settings of the whole plugin, flat. Knows nothing of who reads them."""

from __future__ import annotations

from typing import Literal

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.beads]``.

    `file` is the bead file that commands mean when none is named; a relative one begins at the town's root. `prefix`
    begins the ids of beads that our own tasks become; without one it is the town's name. With `bd` as ``auto``, a sync
    of a directory that has a bead database uses the program `bd` where it is on PATH.
    """

    file: str = ".beads/issues.jsonl"
    prefix: str = ""
    bd: Literal["auto", "never"] = "auto"
