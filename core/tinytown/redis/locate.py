"""Which server is a town's: the one that its settings name, or its own, from the installed `ServerProvider`. Quick to import."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import msgspec

from tinytown.config import PASSWORD_VARIABLE, Config
from tinytown.entry_points import installed
from tinytown.errors import PluginFaulty, PluginRefused, ServerUnreachable, StaleLease
from tinytown.identity import round_url
from tinytown.packages import install_hint
from tinytown.redis.url import Address, parse_url
from tinytown.state import mark_data, open_state, require_data, state_directory

#: The group of entry points that name a `ServerProvider`.
SERVERS_GROUP = "tinytown.servers"
#: That of those that lead from a ``redis.url`` with several hosts or another scheme, by which they are named, to one server: from
#: the URL, and a function that reads a plain one, to an `Address`.
RESOLVERS_GROUP = "tinytown.resolvers"


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
        """Where it listens: ``unix://`` or ``redis://``, with the password as ``?password_file=/path``, never itself."""
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

    def has_data(self) -> bool:
        """Whether data of an earlier start is there; if not, `ensure` begins with none."""
        ...

    def ping(self, *, timeout_s: float = 1.0) -> bool:
        """Whether it answers within `timeout_s`. Starts nothing."""
        ...

    def pid(self) -> int | None:
        """Its process id; None if none runs."""

    def stop(self, timeout_s: float = 10.0) -> bool:
        """End it, keeping its data, and wait until it is gone; whether one ran. Raises: ServerUnreachable after `timeout_s`."""
        ...

    def end_left_behind(self, deadline: float) -> bool:
        """End a server whose directory was deleted; whether there was one.

        Raises: ServerUnreachable if it is still there at the `deadline` (`time.monotonic`).
        """
        ...


class ServerProvider(Protocol):
    """Makes the server of a town whose settings have no ``redis.url``: the one entry point of the group `SERVERS_GROUP`, so that
    a quick command imports no other plugin. Nothing is started or written before `TownServer.ensure`. Since API 2."""

    def __call__(self, directory: Path) -> TownServer:
        """The server whose data is in `directory`, the town's state directory."""
        ...


def town_server(root: Path, config: Config, directory: Path | None = None) -> TownServer | None:
    """The server of the town's own, with its data in `directory`, by default the town's state; None when its settings name
    another.

    Raises: ServerUnreachable with code ``no_server`` if no provider is installed; PluginRefused if several are; PluginFaulty
    if the one there is cannot be imported.
    """
    if config.redis.url is not None or round_url(root):
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
    return make(directory or state_directory(root))


def ensure_server(root: Path, config: Config) -> Literal["started", "attached", "named"]:
    """Have the town's server up, and how: ``named`` if the settings name one. Blocking. Raises as `TownServer.ensure` does."""
    if (server := town_server(root, config)) is None:
        open_state(root)
        return "named"
    open_state(root, stop_server=lambda old: (former := town_server(root, config, old)) and former.stop())
    if not server.has_data():
        require_data(root)
    how = server.ensure(durability=config.redis.durability)
    mark_data(root)
    return how


def address_of(root: Path, config: Config) -> Address:
    """Where the town's server is. Raises: ConfigError for a bad ``redis.url``; StaleLease; what `town_server` raises."""
    redis = config.redis
    if url := round_url(root):
        address = parse_url(url)
        if address.scheme == "unix" and not os.path.exists(address.path):
            raise StaleLease("the round that this process belongs to has ended", hint="end this process")
        return address
    if (server := town_server(root, config)) is not None:
        return parse_url(server.url)
    url, password = redis.url or "", os.environ.get(PASSWORD_VARIABLE)

    def read(url: str) -> Address:
        address = parse_url(url, ca_file=redis.ca_file, cert_file=redis.cert_file, key_file=redis.key_file)
        return msgspec.structs.replace(address, password=address.password or password)

    scheme = url.partition(":")[0]
    several = "," in url or "+" in scheme
    resolvers = [each for each in installed(RESOLVERS_GROUP) if each.name == scheme] if several else []
    return resolvers[0].load()(url, read) if resolvers else read(url)
