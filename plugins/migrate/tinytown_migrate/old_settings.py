"""Converts the ``tinytown.toml`` of Tinytown 0.10, and finds its server. Pure.

Secrets are not converted: a password is left out, with a note where to put it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import msgspec
from tinytown.config import PASSWORD_VARIABLE, RUNTIME_DIRECTORY
from tinytown.errors import UsageError
from tinytown.model.ids import check_agent_name, town_name_from
from tinytown.packages import install_hint
from tinytown.redis import parse_url

#: Kinds that Tinytown 0.10 wrote into every file; here each comes with a plugin.
PRESETS = ("claude", "auggie", "codex", "codex-mini", "aider", "gemini", "copilot", "cursor")

#: Keys that only Tinytown 0.10 has.
_OLD_ONLY = frozenset({"use_central_redis", "use_streams", "agent", "townhall"})
_OLD_REDIS = frozenset(
    {"use_socket", "socket_path", "host", "port", "persist", "aof_path", "password", "tls_enabled", "bind"}
)
_FOR_A_SHELL = re.compile(r"[|&;<>()$`*?\[\]#~\\\n]|^\s*\w+=")

_NO_PLACE: dict[str, str] = {
    "max_agents": "Tinytown 0.10 did not enforce it; the default here is 1,000",
    "use_central_redis": "a town has a server of its own unless redis.url names one",
    "use_streams": "Tinytown 0.10 did not use it",
    "agent.idle_timeout_secs": "no such setting",
    "townhall": "a plugin of its own here",
    "redis.password": f"secrets do not belong in the file: set {PASSWORD_VARIABLE}",
}


class NotTaken(msgspec.Struct, frozen=True, kw_only=True):
    """A key of the old file that is not in the new one, and the reason."""

    key: str
    reason: str


class NewSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The text of the new file, the converted keys, and the others."""

    name: str
    text: str
    taken: tuple[str, ...]
    not_taken: tuple[NotTaken, ...]


def is_old(table: Mapping[str, Any]) -> bool:
    """Whether a ``tinytown.toml`` is one of Tinytown 0.10."""
    return bool(_OLD_ONLY & table.keys() or _OLD_REDIS & _table(table.get("redis")).keys())


def _table(value: Any) -> dict[str, Any]:
    """A table of TOML; an empty one for anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def old_server_url(table: Mapping[str, Any], root: Path) -> str:
    """The URL of the server that a town of the old kind at `root` uses, password included: not to be shown."""
    redis = _table(table.get("redis"))
    if redis.get("url"):
        return str(redis["url"])
    socket = root / str(redis.get("socket_path") or f"{RUNTIME_DIRECTORY}/redis.sock")
    central = table.get("use_central_redis", False)
    if redis.get("use_socket", True) and not central and socket.exists():
        return f"unix://{quote(str(socket.resolve()))}"
    password = f":{quote(str(redis['password']), safe='')}@" if redis.get("password") else ""
    scheme = "rediss" if redis.get("tls_enabled") else "redis"
    return f"{scheme}://{password}{redis.get('host', '127.0.0.1')}:{redis.get('port', 6379)}/0"


def convert_settings(table: Mapping[str, Any]) -> NewSettings:
    """The new settings for those of an old file."""
    old_name = str(table.get("name") or "")
    name = town_name_from(old_name)
    lines, taken, left = [f"name = {json.dumps(name)}"], ["name"], list[NotTaken]()
    tables: list[str] = []
    for key, value in table.items():
        if key == "name":
            if name != old_name:
                left.append(NotTaken(key="name", reason=f"{old_name!r} is not a legal name; it becomes {name!r}"))
        elif key == "default_cli":
            _default_cli(str(value), lines, taken, left)
        elif key == "conductor_cli" and isinstance(value, str) and value.strip():
            tables += ["", "[plugins.ops]", f"conductor_cli = {json.dumps(value)}"]
            taken.append(key)
        elif key not in ("redis", "agent_clis"):
            left += _left_out(key, value)
    lines += _redis(_table(table.get("redis")), taken, left)
    lines += _agent_clis(_table(table.get("agent_clis")), taken, left)
    lines += tables
    head = "# Converted from the tinytown.toml of Tinytown 0.10. Settings: docs/reference/configuration.md\n"
    return NewSettings(name=name, text=head + "\n".join(lines) + "\n", taken=tuple(taken), not_taken=tuple(left))


def _default_cli(value: str, lines: list[str], taken: list[str], left: list[NotTaken]) -> None:
    try:
        lines.append(f"default_cli = {json.dumps(check_agent_name(value))}")
        taken.append("default_cli")
    except UsageError:
        left.append(NotTaken(key="default_cli", reason="a whole command; define it as [agent_clis.NAME]"))


def _left_out(key: str, value: Any) -> list[NotTaken]:
    below = _table(value)
    if below and key not in _NO_PLACE:
        return [item for name, item in below.items() for item in _left_out(f"{key}.{name}", item)]
    return [NotTaken(key=key, reason=_NO_PLACE.get(key, "unknown setting"))]


def _redis(redis: Mapping[str, Any], taken: list[str], left: list[NotTaken]) -> list[str]:
    if not redis.get("url"):
        reason = "the new town has a server of its own; redis.url names an external one"
        known = [key for key in redis if key != "password"]
        left += [NotTaken(key=f"redis.{key}", reason=reason) for key in known]
        if redis.get("password"):
            left += _left_out("redis.password", "")
        return []
    address = parse_url(str(redis["url"]))
    if address.password:
        left.append(NotTaken(key="redis.url", reason=f"without its password: set {PASSWORD_VARIABLE}"))
    lines = ["", "[redis]", f"url = {json.dumps(address.redacted.replace(':****@', '@').replace('//@', '//'))}"]
    taken.append("redis.url")
    for old, new in {"tls_ca_cert": "ca_file", "tls_cert": "cert_file", "tls_key": "key_file"}.items():
        if redis.get(old) and address.scheme == "rediss":
            lines.append(f"{new} = {json.dumps(str(redis[old]))}")
            taken.append(f"redis.{old}")
    for key in redis.keys() - {"url", "tls_ca_cert", "tls_cert", "tls_key"}:
        left += _left_out(f"redis.{key}", "")
    return lines


def _agent_clis(clis: Mapping[str, Any], taken: list[str], left: list[NotTaken]) -> list[str]:
    lines: list[str] = []
    for name, cli in clis.items():
        key, table = f"agent_clis.{name}", _table(cli)
        command = str(table.get("command", ""))
        if name in PRESETS:
            hint = install_hint("kinds", name.partition("-")[0], "see tt plugins")
            left.append(NotTaken(key=key, reason=f"this kind comes with a plugin: {hint}"))
            continue
        try:
            check_agent_name(name)
        except UsageError as error:
            left.append(NotTaken(key=key, reason=error.message))
            continue
        if not command.strip():
            left.append(NotTaken(key=key, reason="it has no command"))
            continue
        # Tinytown 0.10 ran every command in a shell; here only commands that need one.
        words = json.dumps(["sh", "-c", command] if _FOR_A_SHELL.search(command) else command, ensure_ascii=False)
        lines += ["", f"[agent_clis.{json.dumps(name)}]", f"command = {words}"]
        taken.append(f"{key}.command")
        left += [
            NotTaken(key=f"{key}.{ignored}", reason="Tinytown 0.10 ignored it; here it would take effect")
            for ignored in ("workdir", "env")
            if table.get(ignored)
        ]
    return lines
