"""Talking to a Redis or Valkey server: the link on trio, the blocking client, and where a town's server is.

What plugins use is exported here and imported when first used: the blocking client needs no trio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinytown.exports import lazy_exports

if TYPE_CHECKING:
    from tinytown.redis.blocking_client import BlockingClient as BlockingClient
    from tinytown.redis.commands import PluginRedis as PluginRedis
    from tinytown.redis.locate import address_of as address_of, town_server as town_server
    from tinytown.redis.url import Address as Address, parse_url as parse_url, redact as redact

__getattr__ = lazy_exports(
    __name__,
    {
        "blocking_client": "BlockingClient",
        "commands": "PluginRedis",
        "locate": "address_of town_server",
        "url": "Address parse_url redact",
    },
)
