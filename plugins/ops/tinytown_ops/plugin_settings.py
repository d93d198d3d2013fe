"""The settings of this plugin: the table ``[plugins.ops]``."""

from __future__ import annotations

from pathlib import Path

import msgspec
from tinytown.config import CONFIG_FILE, Config, convert_settings


class OpsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.ops]``. `conductor_cli` is what ``tt conductor`` starts: a coding CLI by name, or any command, with
    ``{context_file}`` for the path of its context. `fallback`: a kind, and the kinds whose agents get the tasks of its agents
    while those cannot work, because their account is parked or they are in the state ``error``."""

    conductor_cli: str | None = None
    fallback: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict[str, tuple[str, ...]])


def read_settings(root: Path, config: Config) -> OpsSettings:
    """The settings of the town at `root`. Raises: ConfigError."""
    table = config.plugins.get("ops", {})
    return convert_settings(OpsSettings, table, root / CONFIG_FILE, "plugins.ops")
