"""The warnings of kinds of agents, asked of their backends and cached in the town.

To ask the backends, every plugin has to be imported. The answers are cached for as long as one kernel runs, since it works
with the settings and plugins of its start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinytown.files import replace_file
from tinytown.model.text import shown
from tinytown.state import state_directory

if TYPE_CHECKING:
    from tinytown.contracts import AgentBackend

_FILE = "warnings.json"


def warnings_of(backend: AgentBackend) -> list[str]:
    """The sentences of its `warnings()`. If that raises, the only warning is that it did."""
    try:
        warnings = backend.warnings()
        return [shown(str(text), 500) for text in ([warnings] if isinstance(warnings, str) else warnings)]
    except Exception as error:  # a plugin's code may raise anything
        return [f"its warnings cannot be read: {shown(repr(error), 200)}"]


def warnings_by_kind(backends: Mapping[str, AgentBackend]) -> dict[str, list[str]]:
    """The warnings of every kind that has some."""
    return {kind: warnings for kind, backend in sorted(backends.items()) if (warnings := warnings_of(backend))}


def cache_warnings(root: Path, kernel_pid: int, warnings: Mapping[str, Sequence[str]]) -> None:
    """Cache the warnings of the town at `root` while this kernel runs. An unwritable cache costs time and nothing else."""
    path = state_directory(root) / _FILE
    with suppress(OSError):
        replace_file(path, json.dumps({"kernel": kernel_pid, "warnings": warnings}).encode())


def cached_warnings(root: Path, kernel_pid: int) -> dict[str, list[str]] | None:
    """The warnings cached for this kernel; None if there are none, or none that can be read."""
    try:
        content: Any = json.loads((state_directory(root) / _FILE).read_bytes())
        if content["kernel"] != kernel_pid:
            return None
        return {str(kind): [str(text) for text in warnings] for kind, warnings in content["warnings"].items()}
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return None
