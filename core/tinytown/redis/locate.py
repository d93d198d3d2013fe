"""Which server is a town's: the address that its settings name, or the embedded server in its runtime directory.

Cheap to import, for quick commands. Connects to nothing and starts nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from tinytown_server.server import EmbeddedServer

from tinytown.config import PASSWORD_VARIABLE, RUNTIME_DIRECTORY, Config
from tinytown.redis.url import Address, parse_url


def embedded_server(root: Path, config: Config) -> EmbeddedServer | None:
    """The town's own server; None when its settings name another."""
    return EmbeddedServer(root / RUNTIME_DIRECTORY) if config.redis.url is None else None


def address_of(root: Path, config: Config) -> Address:
    """Where the town's server is. Raises: ConfigError for a bad ``redis.url`` or certificate file."""
    redis = config.redis
    if redis.url is None:
        return Address("unix", path=str(EmbeddedServer(root / RUNTIME_DIRECTORY).socket_path))
    address = parse_url(redis.url, ca_file=redis.ca_file, cert_file=redis.cert_file, key_file=redis.key_file)
    if not address.password and (password := os.environ.get(PASSWORD_VARIABLE)):
        return msgspec.structs.replace(address, password=password)
    return address
