"""The hooks that the command line calls. Found by its entry point in the group ``tinytown.hookspecs``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinytown.config import Config
from tinytown.hookspecs import Contribution, hookspec
from tinytown.model.events import Event

from tinytown_cli import contracts

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_TARGET = re.compile(r"\w+(\.\w+)*:\w+")


def _check_target(contributed: contracts.Command | contracts.Completer) -> None:
    """Raises ValueError for a name that is not one or, of a command, two words, or for an invalid target."""
    words = contributed.name.split(" ", 1) if isinstance(contributed, contracts.Command) else [contributed.name]
    if not all(_WORD.fullmatch(word) for word in words):
        raise ValueError(f"letters, digits, '.', '_' or '-' as name, got {contributed.name!r}")
    if not _TARGET.fullmatch(contributed.target):
        raise ValueError(f"'module:function' as the target of {contributed.name!r}, got {contributed.target!r}")


CONTRIBUTIONS = {
    "commands": Contribution("tinytown_commands", contracts.Command, check=_check_target),
    "completers": Contribution("tinytown_completers", contracts.Completer, check=_check_target),
    "converters": Contribution("tinytown_converters", contracts.Converter, "format"),
    "health_checks": Contribution("tinytown_health_checks", contracts.HealthCheck),
    "status_sections": Contribution("tinytown_status_sections", contracts.StatusSection),
}


@hookspec
def tinytown_commands() -> Sequence[contracts.Command]:  # type: ignore[empty-body]
    """Commands for the command line; the code behind one is imported only when it is typed.

    Called outside of a town too. Each command also has an entry point of the group ``tinytown.commands``
    (``name = "module:attribute"``, with a dot for a space in the name), so that typing it imports no other plugin.
    """


@hookspec
def tinytown_completers() -> Sequence[contracts.Completer]:  # type: ignore[empty-body]
    """Sources of words for shell completion. Called when the shell completes a word of a plugin's command. Since API 2."""


@hookspec
def tinytown_converters(settings: Any) -> Sequence[contracts.Converter]:  # type: ignore[empty-body]
    """Converters between a file format and tasks, for ``tt task import`` and ``export``."""


@hookspec
def tinytown_health_checks(settings: Any, config: Config, root: Path) -> Sequence[contracts.HealthCheck]:  # type: ignore[empty-body]
    """What ``tt doctor`` looks at beside its own checks. Since API 2."""


@hookspec
def tinytown_status_sections(settings: Any, config: Config, root: Path) -> Sequence[contracts.StatusSection]:  # type: ignore[empty-body]
    """What ``tt status --deep`` shows beside the town itself. Since API 2."""


@hookspec(firstresult=True)
def tinytown_event_text(event: Event) -> str | None:
    """One line about an event of the plugin's own, for ``tt events`` and other screens; None for no opinion. Since API 2."""


@hookspec(firstresult=True)
def tinytown_init_note(config: Config, root: Path) -> str | None:
    """One line for the person who has just created a town at `root`; None for nothing to say. Since API 2."""
