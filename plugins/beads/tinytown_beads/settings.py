"""``[plugins.beads]``: the settings of the whole plugin, flat. Knows nothing of who reads them."""

from __future__ import annotations

from typing import Literal

import msgspec
from tinytown.config import Config
from tinytown.errors import ConfigError


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.beads]``.

    `file` is the bead file that commands mean when none is named; a relative one begins at the town's root. `prefix`
    begins the ids of beads that our own tasks become; without one it is the town's name. With `bd` as ``auto``, a sync
    of a directory that has a bead database uses the program `bd` where it is on PATH. `gh` is the program by which gates
    of formulas for pull requests and CI runs are looked up; without one a person is asked.
    """

    file: str = ".beads/issues.jsonl"
    prefix: str = ""
    bd: Literal["auto", "never"] = "auto"
    gh: str = ""


def read_settings(config: Config) -> Settings:
    """The plugin's settings in a town's configuration. Raises: ConfigError."""
    try:
        return msgspec.convert(config.plugins.get("beads", {}), Settings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"[plugins.beads]: {error}", key="plugins.beads") from error
