"""What a person should know of a kind of agents before one is spawned: asked of its backend, and kept in a file.

To ask the backends, every plugin has to be imported. So the answers are kept for as long as one kernel runs: what it
does is done with the settings and plugins of its start.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tinytown.config import RUNTIME_DIRECTORY
from tinytown.contracts import AgentBackend
from tinytown.model.text import shown

_FILE = "warnings.json"


def warnings_of(backend: AgentBackend) -> list[str]:
    """The sentences of its `warnings()`. What that raises is one of them."""
    try:
        found = backend.warnings()
        return [shown(str(text), 500) for text in ([found] if isinstance(found, str) else found)]
    except Exception as error:  # a plugin's code may raise anything; the command goes on
        return [f"its warnings cannot be read: {shown(repr(error), 200)}"]


def warnings_by_kind(backends: Mapping[str, AgentBackend]) -> dict[str, list[str]]:
    """The warnings of every kind that has some."""
    return {kind: told for kind, backend in sorted(backends.items()) if (told := warnings_of(backend))}


def keep_warnings(root: Path, kernel_pid: int, warnings: Mapping[str, Sequence[str]]) -> None:
    """Keep them for the town at `root` while this kernel runs. What cannot be written is asked for again."""
    path = root / RUNTIME_DIRECTORY / _FILE
    fresh = path.with_name(f".{_FILE}.{os.getpid()}")
    with suppress(OSError):
        fresh.write_text(json.dumps({"kernel": kernel_pid, "warnings": warnings}))
        fresh.replace(path)


def kept_warnings(root: Path, kernel_pid: int) -> dict[str, list[str]] | None:
    """What is kept for this kernel; None when that is nothing, or nothing that can be read."""
    try:
        found: Any = json.loads((root / RUNTIME_DIRECTORY / _FILE).read_bytes())
        if found["kernel"] != kernel_pid:
            return None
        return {str(kind): [str(each) for each in told] for kind, told in found["warnings"].items()}
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return None
