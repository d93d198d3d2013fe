"""Converts the ``tinytown.toml`` of Tinytown 0.10, and finds its server. Pure.

Secrets are not converted: a password is left out, with a note where to put it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import msgspec
from tinytown.config import PASSWORD_VARIABLE
from tinytown.errors import UsageError
from tinytown.model.ids import check_agent_name, town_name_from
from tinytown.packages import install_hint
from tinytown.redis import parse_url
from tinytown_cli.plain_letters import unaccented

from tinytown_migrate.old_clis import recognize, settings_tables

#: Kinds that Tinytown 0.10 wrote into every file; here each comes with a plugin.
PRESETS = ("claude", "auggie", "codex", "codex-mini", "aider", "gemini", "copilot", "cursor")

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


def _table(value: Any) -> dict[str, Any]:
    """A table of TOML; an empty one for anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def old_server_url(table: Mapping[str, Any], root: Path) -> str:
    """The URL of the server that a town of the old kind at `root` uses, password included: not to be shown."""
    redis = _table(table.get("redis"))
    if redis.get("url"):
        return str(redis["url"])
    socket = root / str(redis.get("socket_path") or ".tt/redis.sock")
    central = table.get("use_central_redis", False)
    if redis.get("use_socket", not {"host", "tls_enabled"} & redis.keys()) and not central:
        return f"unix://{quote(str(socket.resolve()))}"
    password = f":{quote(str(redis['password']), safe='')}@" if redis.get("password") else ""
    scheme = "rediss" if redis.get("tls_enabled") else "redis"
    return f"{scheme}://{password}{redis.get('host', '127.0.0.1')}:{redis.get('port', 6379)}/0"


def how_to_start_server(table: Mapping[str, Any], root: Path) -> str:
    """What to type to have the server of an old town at `root` up, for one that does not answer."""
    redis = _table(table.get("redis"))
    if redis.get("url") or table.get("use_central_redis") or not redis.get("use_socket", True):
        return "start it, or let the old program do so (tt status), then try again"
    kept = next((path for path in (root / "dump.rdb", root / ".tt" / "dump.rdb") if path.exists()), None)
    if kept is None:
        where = (
            f"its data is not in {root}: look for the dump.rdb that it wrote, and start redis-server in that directory"
        )
    else:
        where = f"its data is in {kept}: cd {kept.parent}"
    socket = (root / str(redis.get("socket_path") or ".tt/redis.sock")).resolve()
    return f"{where} && redis-server --port 0 --unixsocket {socket} --daemonize yes"


def convert_settings(
    table: Mapping[str, Any], *, commands: Collection[str] = (), plugins: Collection[str] = ()
) -> NewSettings:
    """The new settings for those of an old file; `commands` are what its agents ran, `plugins` are installed."""
    old_name = str(table.get("name") or "")
    name = town_name_from(unaccented(old_name))
    lines, taken, left = [f"name = {json.dumps(name)}"], ["name"], list[NotTaken]()
    tables: list[str] = []
    presets = {name: str(_table(cli).get("command", "")) for name, cli in _table(table.get("agent_clis")).items()}
    words = [*commands, str(table.get("default_cli") or "")]
    used = [cli for word in words if (cli := recognize(presets.get(word) or word))]
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
    lines += settings_tables(used, plugins)
    head = "# Converted from the tinytown.toml of Tinytown 0.10. Settings: docs/reference/configuration.md\n"
    return NewSettings(name=name, text=head + "\n".join(lines) + "\n", taken=tuple(taken), not_taken=tuple(left))


def _default_cli(value: str, lines: list[str], taken: list[str], left: list[NotTaken]) -> None:
    try:
        lines.append(f"default_cli = {json.dumps(check_agent_name(value))}")
        taken.append("default_cli")
    except UsageError:
        if old := recognize(value):
            lines.append(f"default_cli = {json.dumps(old.kind)}")
            taken.append("default_cli")
        else:
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
