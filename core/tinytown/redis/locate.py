"""Which server is a town's: the one that its settings name, or one of its own from the installed `ServerProvider`.

Cheap to import, for quick commands. Connects to nothing and starts nothing.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import msgspec

from tinytown.config import PASSWORD_VARIABLE, RUNTIME_DIRECTORY, Config, prepare_runtime_directory
from tinytown.entry_points import installed
from tinytown.errors import PluginFaulty, PluginRefused, ServerUnreachable
from tinytown.packages import install_hint
from tinytown.redis.url import Address, parse_url

#: The group of entry points that name a `ServerProvider`.
SERVERS_GROUP = "tinytown.servers"


class ServerProgram(NamedTuple):
    """The program of a server: `version` is empty where only the running server knows it, `source` is where it was found."""

    path: str
    version: str
    source: str


@runtime_checkable
class TownServer(Protocol):
    """The Redis-compatible server of one town. Blocking, quick to import: quick commands call it. Since API 2."""

    @property
    def url(self) -> str:
        """Where it listens: ``unix://`` or ``redis://``."""
        ...

    @property
    def log_path(self) -> Path:
        """Its log, for people."""
        ...

    def program(self) -> ServerProgram:
        """The program that `ensure` starts. Raises: ServerUnreachable with a hint if there is none."""
        ...

    def ensure(
        self, *, durability: Literal["safe", "fast"] = "safe", timeout_s: float = 10.0
    ) -> Literal["started", "attached"]:
        """Start it unless it answers, within about `timeout_s`; any number of processes may call this at once.

        The kernel calls it in a thread, whenever it connects. With durability ``safe`` a write is on the disk before it is
        acknowledged; ``fast`` may lose the last seconds. A server that runs is made more durable, never less.
        Raises: ServerUnreachable with a hint; inside an agent's round (`tinytown.identity.inside_a_round`) for a server
        that does not run, because what is started there ends with the round.
        """
        ...

    def ping(self, *, timeout_s: float = 1.0) -> bool:
        """Whether it answers within `timeout_s`. Starts nothing."""
        ...

    def pid(self) -> int | None:
        """Its process id; None if none runs."""
        ...

    def stop(self, timeout_s: float = 10.0) -> bool:
        """End it and wait until it is gone, keeping its data; whether one was running.

        Raises: ServerUnreachable if it is still there after `timeout_s`.
        """
        ...

    def end_left_behind(self, deadline: float) -> bool:
        """End a server whose directory was deleted, before `deadline` (`time.monotonic`); whether there was one.

        Raises: ServerUnreachable if it is still there at the deadline.
        """
        ...


class ServerProvider(Protocol):
    """Makes the server of a town whose settings have no ``redis.url``. Since API 2.

    Announced by an entry point of the group ``tinytown.servers``, so that a quick command finds it without importing
    any other plugin. One may be installed. Nothing is started or written before `TownServer.ensure`.
    """

    def __call__(self, directory: Path) -> TownServer:
        """The server whose data lies in `directory`, the town's own runtime directory."""
        ...


def town_server(root: Path, config: Config) -> TownServer | None:
    """The server of the town's own; None when its settings name another.

    Raises: ServerUnreachable with code ``no_server`` if no provider is installed; PluginRefused if several are; PluginFaulty
    if the one there is cannot be imported.
    """
    if config.redis.url is not None:
        return None
    providers = installed(SERVERS_GROUP)
    if not providers:
        raise ServerUnreachable(
            f"town {config.name!r} has no server: redis.url is not set, and no plugin that brings a server is installed",
            hint=f"{install_hint('parts', 'server')}, or set redis.url in {root / 'tinytown.toml'}",
            code="no_server",
        )
    provider, *others = providers
    if others:
        distributions = " and ".join(provider.distribution for provider in providers)
        raise PluginRefused(
            f"expected one plugin that brings a server, got {distributions}", hint="uninstall all but one"
        )
    try:
        make: ServerProvider = provider.load()
    except Exception as error:
        raise PluginFaulty(
            f"the server of {provider.distribution} cannot be loaded from {provider.value}: {error}",
            hint=f"install {provider.distribution} again",
            plugin=provider.name,
            distribution=provider.distribution,
            stage="server",
        ) from error
    return make(root / RUNTIME_DIRECTORY)


def ensure_server(root: Path, config: Config) -> Literal["started", "attached", "named"]:
    """Have the town's server up, and how that was done; ``named``: by nobody, the configuration names another.

    Blocking. Raises: ServerUnreachable; what `town_server` raises.
    """
    if (server := town_server(root, config)) is None:
        return "named"
    state = server.ensure(durability=config.redis.durability)
    if state == "started":
        with suppress(OSError):
            prepare_runtime_directory(root)
    return state


def address_of(root: Path, config: Config) -> Address:
    """Where the town's server is. Raises: ConfigError for a bad ``redis.url`` or certificate file; what `town_server` raises."""
    redis = config.redis
    if (server := town_server(root, config)) is not None:
        return parse_url(server.url)
    assert redis.url is not None
    address = parse_url(redis.url, ca_file=redis.ca_file, cert_file=redis.cert_file, key_file=redis.key_file)
    if not address.password and (password := os.environ.get(PASSWORD_VARIABLE)):
        return msgspec.structs.replace(address, password=password)
    return address
