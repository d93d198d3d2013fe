"""Talking to a Redis or Valkey server: the link on trio, the blocking client, and where a town's server is.

What plugins use is exported here and imported when first used: the blocking client needs no trio.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinytown.redis.blocking_client import BlockingClient
    from tinytown.redis.commands import PluginRedis
    from tinytown.redis.locate import address_of, town_server
    from tinytown.redis.url import Address, parse_url, redact

__all__ = [
    "Address",
    "BlockingClient",
    "PluginRedis",
    "address_of",
    "parse_url",
    "redact",
    "town_server",
]

_MODULES = {
    "Address": "url",
    "PluginRedis": "commands",
    "BlockingClient": "blocking_client",
    "address_of": "locate",
    "town_server": "locate",
    "parse_url": "url",
    "redact": "url",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
