"""Talking to a Redis or Valkey server: the link on trio, the wire protocol, and where a town's server is.

What plugins use is exported here and imported when first used: the wire protocol needs no trio.
"""

from __future__ import annotations

from tinytown.exports import lazy_exports

__getattr__ = lazy_exports(
    __name__,
    {
        "commands": "PluginRedis",
        "connect": "Connection open_connection",
        "locate": "address_of ensure_server town_server",
        "resp": "Parser check_handshake connect_error is_push pack unconfirmed",
        "url": "Address parse_url redact",
    },
)
