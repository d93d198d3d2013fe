"""Which distribution to install for what is missing. The names are in ``packages.toml`` beside this module, and nowhere else."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

#: What may be missing: a kind of agents, a plugin that the settings name, a command, a format of files of tasks, a table of the
#: settings, or a part that the core asks for (``commands``, ``server``).
Missing: TypeAlias = Literal["kinds", "plugins", "commands", "formats", "settings", "hooks", "parts"]


@cache
def packages() -> dict[str, dict[str, Any]]:
    """What each of Tinytown's own distributions brings, by its name: the table of ``packages.toml``."""
    import tomllib  # late: only errors need it, and agents that are spawned without a kind

    return tomllib.loads(Path(__file__).with_name("packages.toml").read_text("utf-8"))


def distribution_of(what: Missing, name: str) -> str | None:
    """The distribution that brings `name`; None for what is not Tinytown's own."""
    return next((distribution for distribution, table in packages().items() if name in table.get(what, ())), None)


def install_hint(what: Missing, name: str, otherwise: str = "") -> str:
    """``pip install DISTRIBUTION`` for what brings `name`; `otherwise` for what is not Tinytown's own."""
    distribution = distribution_of(what, name)
    return f"pip install {distribution}" if distribution else otherwise


def default_kind() -> str:
    """The kind of agents that are spawned where none is configured."""
    return next(str(table["default_kind"]) for table in packages().values() if "default_kind" in table)
