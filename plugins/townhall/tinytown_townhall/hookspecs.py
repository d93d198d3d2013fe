"""The hook that the townhall calls. Found by its entry point in the group ``tinytown.hookspecs``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinytown.config import Config
from tinytown.hookspecs import Contribution, hookspec

from tinytown_townhall import contracts

CONTRIBUTIONS = {"townhall_extensions": Contribution("tinytown_townhall_extensions", contracts.Extension)}


@hookspec
def tinytown_townhall_extensions(settings: Any, config: Config, root: Path) -> Sequence[contracts.Extension]:  # type: ignore[empty-body]
    """Routes, tools for models and views for the townhall. Called when it begins to serve. Since API 2."""
