"""``[plugins.beads]``: the settings of the plugin."""

from __future__ import annotations

from typing import Literal

import msgspec
from tinytown.config import Config
from tinytown.errors import ConfigError


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.beads]``.

    `file` is the default bead file of commands, relative to the town's root. `prefix` starts the ids of new beads; the default
    is the town's name. With `bd` as ``auto``, a sync of a directory with a bead database uses the program `bd` if it is on
    PATH. `types` are types of issues that `tt-bd` accepts beyond those of `bd` and Gastown. `gh` is the program that looks up
    gates of pull requests and CI runs; without one a person is asked.
    """

    file: str = ".beads/issues.jsonl"
    prefix: str = ""
    bd: Literal["auto", "never"] = "auto"
    types: tuple[str, ...] = ()
    gh: str = ""


def read_settings(config: Config) -> Settings:
    """The plugin's settings in a town's configuration. Raises: ConfigError."""
    try:
        return msgspec.convert(config.plugins.get("beads", {}), Settings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"[plugins.beads]: {error}", key="plugins.beads") from error
