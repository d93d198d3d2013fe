"""The hook that returns status sinks. Found by its entry point in the group ``tinytown.hookspecs``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinytown.config import Config
from tinytown.hookspecs import Contribution, hookspec

from tinytown_sinks.sink import StatusSink

CONTRIBUTIONS = {"sinks": Contribution("tinytown_status_sinks", StatusSink)}


@hookspec
def tinytown_status_sinks(settings: Any, config: Config, root: Path) -> Sequence[StatusSink]:  # type: ignore[empty-body]
    """Sinks for the town's events. A kernel runs each like a service."""
