"""How the server of a town is: memory, persistence, clients, as it reports them itself."""

from __future__ import annotations

import msgspec
from tinytown.errors import TinytownError
from tinytown.model.hash_codec import pairs
from tinytown_cli.client import TownClient

_SYNCS = {"always": "at every write", "everysec": "every second", "no": "never"}


class ServerHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How the server is.

    `persistence` is ``append-only file``, ``snapshots`` or ``none``, and `ok` whether its last write succeeded. `sync` is
    when an append-only file is synced to disk: ``at every write`` (before that is acknowledged), ``every second``,
    ``never`` or ``unknown``. A memory limit of 0 means none; `eviction` is what it does when that is reached.
    """

    memory_bytes: int
    memory_limit_bytes: int
    persistence: str
    sync: str
    ok: bool
    clients: int
    uptime_s: int
    eviction: str = ""
    version: str = ""


def read_server_health(town: TownClient) -> ServerHealth:
    """How the server is now. Raises: what `TownClient` raises."""
    info = town.server_info()

    def number(name: str) -> int:
        return int(info.get(name) or 0)

    name = str(info.get("server_name") or "redis")
    appends = number("aof_enabled") == 1
    written = info.get("aof_last_write_status", "ok") == "ok" and info.get("aof_last_bgrewrite_status", "ok") == "ok"
    return ServerHealth(
        memory_bytes=number("used_memory"),
        memory_limit_bytes=number("maxmemory"),
        persistence="append-only file" if appends else "snapshots" if _setting(town, "save") != "" else "none",
        sync=_SYNCS.get(_setting(town, "appendfsync") or "", "unknown") if appends else "unknown",
        ok=written if appends else info.get("rdb_last_bgsave_status", "ok") == "ok",
        clients=number("connected_clients"),
        uptime_s=number("uptime_in_seconds"),
        eviction=str(info.get("maxmemory_policy") or ""),
        version=f"{name.title()} {info.get(f'{name}_version', '')}",
    )


def _setting(town: TownClient, name: str) -> str | None:
    """A setting of the server; None if it refuses to tell, as hosted servers do."""
    try:
        answer = town.client.command("CONFIG", "GET", name)
    except TinytownError:
        return None
    return pairs(answer).get(name)
