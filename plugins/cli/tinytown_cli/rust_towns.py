"""Recognizes a town of Tinytown 0.10 (in Rust) by its ``tinytown.toml``, and says what its user may type."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinytown.config import CONFIG_FILE
from tinytown.errors import TinytownError

#: Keys that only Tinytown 0.10 has.
_KEYS = frozenset({"use_central_redis", "use_streams", "agent", "townhall"})
_REDIS_KEYS = frozenset(
    {"use_socket", "socket_path", "host", "port", "persist", "aof_path", "password", "tls_enabled", "bind"}
)


def is_old(table: Mapping[str, Any]) -> bool:
    """Whether a ``tinytown.toml`` is one of Tinytown 0.10."""
    redis = table.get("redis")
    return bool(_KEYS & table.keys() or (isinstance(redis, dict) and _REDIS_KEYS & redis.keys()))


def explain_old(error: TinytownError) -> tuple[str, str] | None:
    """Message and hint instead of those of `error`, if it is about the file of a town of Tinytown 0.10."""
    path = Path(str(error.fields.get("path", "")))
    try:
        if path.name != CONFIG_FILE or not is_old(tomllib.loads(path.read_text("utf-8"))):
            return None
    except (OSError, ValueError):
        return None
    return (
        f"{path.parent} is a town of Tinytown 0.10 (in Rust), which this program does not run",
        f"see what would be migrated: tt migrate --from-town {path.parent} --dry-run; then the same with --write",
    )


#: What users of Tinytown 0.10 type and this program does not have -> what they mean.
_HABITS = {
    ("tt", "-V"): "tt version",
    (
        "tt prune",
        "--all",
    ): "tt prune takes out all that are stopped or in error; a living one with: tt prune NAME --force",
    (
        "tt restart",
        "--foreground",
    ): "agents run in the kernel: tt start runs it in the foreground; tt logs NAME --follow",
    ("tt events", "--mission"): "there are no missions; tt events --task TASK, or --agent NAME",
    ("tt bootstrap", "--cli"): "nothing is compiled: tt bootstrap says which server is used",
    ("tt bootstrap", "-c"): "nothing is compiled: tt bootstrap says which server is used",
    ("tt migrate", "--hash"): "all layouts are read: tt migrate --from-town DIR --dry-run",
}
_COMMANDS = {
    "mission": "there are no missions: plans (tt plan), formulas (tt formula run) and groups cover graphs of tasks",
    "agent-loop": "agents run in the kernel: tt spawn NAME, tt start",
}


def old_habit(command: str, option: str) -> str:
    """What to type instead of an option that only Tinytown 0.10 has; empty for any other."""
    return _HABITS.get((command, option), "")


def old_command(name: str) -> str:
    """What to type instead of a command that only Tinytown 0.10 has; empty for any other."""
    group, _, key = name.partition(" ")
    if group == "config" and key:
        return f"tt config get {key}, or tt config set {key} VALUE"
    return _COMMANDS.get(group, "")
