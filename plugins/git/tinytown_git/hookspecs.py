"""The hook that the merge queue calls. Found by its entry point in the group ``tinytown.hookspecs``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinytown.config import Config
from tinytown.hookspecs import Contribution, hookspec

from tinytown_git.forge import Forge

CONTRIBUTIONS = {"git_forges": Contribution("tinytown_git_forges", Forge)}


@hookspec
def tinytown_git_forges(settings: Any, config: Config, root: Path) -> Sequence[Forge]:  # type: ignore[empty-body]
    """Forges that work can be proposed on with ``merge = "pr"``. Called when the merge queue begins. Since API 2."""
