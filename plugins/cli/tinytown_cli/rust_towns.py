"""Recognizes a town of Tinytown 0.10 (in Rust) by its ``tinytown.toml``, and says what its user may type."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
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


#: Instead of an option: an argument too many, or one that is missing.
_EXTRA, _MISSING = "an argument too many", "a missing argument"

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
    ("tt bootstrap", _EXTRA): "nothing is compiled: tt bootstrap says which server is used",
    ("tt history", "--agent"): "tt history AGENT lists finished rounds; events: tt events --agent AGENT",
    ("tt history", "-a"): "tt history AGENT lists finished rounds; events: tt events --agent AGENT",
    ("tt migrate", "--hash"): "all layouts are read: tt migrate --from-town DIR --dry-run",
    (
        "tt recover",
        _EXTRA,
    ): "recovery is automatic and of the whole town; an agent is started again with: tt restart NAME",
    ("tt reset", _EXTRA): "it is of the whole town; an agent goes with: tt prune NAME --force",
    ("tt restore", _MISSING): "it restores a snapshot: tt save writes one, and tt reset --force saves one first",
}
_COMMANDS = {
    "mission": "there are no missions: plans (tt plan), formulas (tt formula run) and groups cover graphs of tasks",
    "auth gen-key": "tt auth key create NAME",
    "agent-loop": "agents run in the kernel: tt spawn NAME, tt start",
}


def old_habit(command: str, error: click.ClickException) -> str:
    """What to type instead of words that only Tinytown 0.10 understands; empty for all others."""
    if isinstance(error, click.NoSuchOption):
        return _HABITS.get((command, error.option_name), "")
    if isinstance(error, click.MissingParameter):
        return _HABITS.get((command, _MISSING), "")
    return _HABITS.get((command, _EXTRA), "") if "unexpected extra argument" in error.format_message() else ""


def old_command(name: str) -> str:
    """What to type instead of a command that only Tinytown 0.10 has; empty for any other."""
    group, _, key = name.partition(" ")
    if group == "config" and key:
        return f"tt config get {key}, or tt config set {key} VALUE"
    return _COMMANDS.get(name) or _COMMANDS.get(group, "")
