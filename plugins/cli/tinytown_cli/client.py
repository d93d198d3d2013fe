"""A blocking client of a town: found by its directory, with its settings read and its server up.

Starts the town's own server if necessary, installs the function library if the server lacks it, and refuses data of
another version. A town that is known and whose server answers costs no reading of settings. Imports neither trio nor
redis-py. Knows nothing of commands.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeVar

from tinytown.errors import NotFound, Refused, ServerUnreachable, TinytownError
from tinytown.identity import round_url
from tinytown.kernel import kernel_with_state
from tinytown.protocol import Operation, Reply, TownOperations
from tinytown.redis import Address, parse_url

from tinytown_cli.blocking_client import BlockingClient
from tinytown_cli.caller import Caller, caller_in
from tinytown_cli.known_towns import KnownTown, recall_town, remember_town

if TYPE_CHECKING:
    from pathlib import Path

    from tinytown.config import Config
    from tinytown.model.events import Event

    from tinytown_cli.kernel_process import Kernel

__all__ = ["LONGEST_WAIT_S", "TownClient", "connect", "open_town_client"]

T = TypeVar("T")

#: How long one wait for events lasts at most; the caller can check again then, in case an event was missed.
LONGEST_WAIT_S = 5.0

#: A disk with less room than this is full.
_FULL_BYTES = 1 << 20


class TownClient:
    """A connected town for one command; see `open_town_client`.

    `is_remote` says that it is on another machine, see `tinytown_cli.remote`. `caller` is the agent or user that this process
    acts for. Methods raise what the operations and `BlockingClient` raise.
    """

    is_remote = False

    def __init__(self, root: Path, config: Config, client: BlockingClient) -> None:
        self._connected(client, str(root), config.name, config.limits.message_bytes)
        self.root, self.config = root, config

    @classmethod
    def of(cls, known: KnownTown, client: BlockingClient) -> Self:
        """The town that is known, whose `root` and `config` are read when they are asked for."""
        town = cls.__new__(cls)
        town._connected(client, known.root, known.name, known.message_limit_bytes)
        town._state = known.state
        return town

    def _connected(self, client: BlockingClient, root: str, name: str, message_limit_bytes: int) -> None:
        self.client = client
        self.operations = TownOperations(name, message_limit_bytes=message_limit_bytes)
        self.caller: Caller = caller_in(root)
        self.directory = root

    @cached_property
    def root(self) -> Path:
        """The town's directory; `directory` is its text."""
        from pathlib import Path

        return Path(self.directory)

    @cached_property
    def config(self) -> Config:
        """The town's settings. Raises: ConfigError."""
        from tinytown.config import load_config

        return load_config(self.root)

    @cached_property
    def _state(self) -> str:
        from tinytown.state import state_directory

        return str(state_directory(self.root))

    @property
    def server_url(self) -> str:
        """Where the town's server is, without passwords."""
        return self.client.address.redacted

    def running_kernel(self) -> int | None:
        """The process id of the kernel that runs the town on this machine; None if none does."""
        return kernel_with_state(self._state)

    def run(self, operation: Operation[T], *, timeout_s: float | None = None) -> T:
        """The town's answer to `operation`, within `timeout_s` seconds (default: those of the client)."""
        try:
            return self.client.run(operation, timeout_s=timeout_s)
        except NotFound as error:
            self._suggest(error)
            raise

    def run_all(self, operations: Sequence[Operation[Any]]) -> list[Any]:
        """The town's answers to `operations`, sent at once. Raises: the first error among the answers."""
        answers = self.client.run_all(operations)
        for answer in answers:
            if isinstance(answer, TinytownError):
                self._suggest(answer)
                raise answer
        return answers

    def _suggest(self, error: TinytownError) -> None:
        """Name in the hint the agent that was probably meant, if `error` misses one."""
        if isinstance(error, NotFound) and (word := error.fields.get("agent")):
            from tinytown_cli.suggestions import did_you_mean

            with contextlib.suppress(TinytownError):
                names = [agent.name for agent in self.client.run(self.operations.agents())]
                error.hint = did_you_mean(str(word), names, error.hint)

    def ensure_kernel(self, *, may_start: bool) -> Kernel | None:
        """The kernel that works for this process's caller, started if there is none and it `may_start`. Raises: TinytownError."""
        from tinytown_cli.kernel_process import ensure_kernel

        return ensure_kernel(self, may_start=may_start)  # pyright: ignore[reportArgumentType] - it caches its root

    def reconnect(self) -> None:
        """Have the server up again, for the next call."""
        from tinytown.redis import ensure_server

        ensure_server(self.root, self.config)

    def make_ready(self) -> None:
        """Install the functions if the server lacks them, and bring older data to this version.

        Raises: Refused for data of another version that no plugin migrates.
        """
        try:
            self.run(self.operations.setup({}))
        except Refused as error:
            if error.code != "older_data":
                raise
            from tinytown.state import migration

            self.run(migration("data")(self.operations.keys))

    def server_info(self) -> dict[str, str]:
        """The server's INFO, by the names of its fields."""

        def decode(info: Reply) -> dict[str, str]:
            return dict(line.split(":", 1) for line in info.decode(errors="replace").split("\r\n") if ":" in line)

        return self.run(Operation(("INFO",), decode))

    def server_version(self) -> str:
        """The version of the server, Valkey's own where it is one."""
        fields = self.server_info()
        return fields.get("valkey_version") or fields.get("redis_version") or self.client.server_version

    def now_ms(self) -> int:
        """The server's clock, in milliseconds since 1970."""
        return self.run(Operation(("TIME",), lambda reply: int(reply[0]) * 1000 + int(reply[1]) // 1000))

    def cursor(self) -> str:
        """The position of the newest event."""
        newest = self.run(self.operations.latest_events(1))
        return newest[-1].id if newest else "0"

    def follow(self, cursor: str, *, until: float = float("inf")) -> Iterator[tuple[Event, ...]]:
        """Events behind `cursor` in batches as they happen, until the moment `until` of `time.monotonic`.

        A batch is empty after each `LONGEST_WAIT_S` without events. After a lost connection it connects once more.
        """
        while (left_s := until - time.monotonic()) > 0:
            wait_s = min(left_s, LONGEST_WAIT_S)
            call = self.operations.wait_for_events(cursor, block_ms=max(1, int(wait_s * 1000)))
            try:
                batch = self.run(call, timeout_s=wait_s + self.client.timeout_s)
            except ServerUnreachable:
                self.reconnect()
                batch = self.run(call, timeout_s=wait_s + self.client.timeout_s)
            yield batch
            if batch:
                cursor = batch[-1].id


@contextlib.contextmanager
def open_town_client(
    root: Path | str | None = None, *, on_connect: Callable[[str], None] | None = None
) -> Generator[TownClient]:
    """A connected town: the one that `root` (default: TINYTOWN_TOWN, else the current directory) is in.

    Its server is started and the functions are loaded if necessary. `on_connect` gets one line that names town and server.
    Raises: NotFound without a town; ConfigError; ServerUnreachable; Refused for data of another version.
    """
    start = None if root is None else str(root)
    known = recall_town(start)
    if known and (client := _reach(known)):
        with _explained(known.state if known.is_embedded else None), client:
            yield _ready(TownClient.of(known, client), "attached", on_connect)
        return
    from pathlib import Path  # late, like the rest: a quick command seldom comes here

    from tinytown.config import load_config

    from tinytown_cli.town_search import find_town

    town_root = find_town(None if start is None else Path(start))
    config = load_config(town_root)
    with connect(town_root, config, on_connect=on_connect) as town:
        remember_town(start, town_root, config, town.client.address)
        yield town


@contextlib.contextmanager
def connect(root: Path, config: Config, *, on_connect: Callable[[str], None] | None = None) -> Generator[TownClient]:
    """Like `open_town_client`, for a town whose root and settings are known."""
    from tinytown.redis import address_of, ensure_server
    from tinytown.state import state_directory

    with _explained(str(state_directory(root)) if config.redis.url is None else None):
        with _naming_snapshot(root):
            server = ensure_server(root, config)
        with BlockingClient(address_of(root, config)) as client:
            yield _ready(TownClient(root, config, client), server, on_connect)


@contextlib.contextmanager
def _naming_snapshot(root: Path) -> Generator[None]:
    """Say from which snapshot the data of a town can be restored, if it is gone."""
    try:
        yield
    except NotFound as error:
        from tinytown_cli.snapshot_files import newest_snapshot  # late: the data of a town is seldom gone

        if error.code == "data_gone" and (newest := newest_snapshot(root)):
            error.hint = f"restore the newest snapshot, {newest}, or {error.hint}"
        raise


def _reach(known: KnownTown) -> BlockingClient | None:
    """A client that is connected to the server of a known town; None if the server has to be started, or is out of reach."""
    url = round_url(known.root)
    if not url and not known.address:
        return None
    client = BlockingClient(parse_url(url) if url else Address(*known.address))
    try:
        client.connect()
    except ServerUnreachable:
        return None
    return client


def _ready(town: TownClient, server: str, on_connect: Callable[[str], None] | None) -> TownClient:
    town.make_ready()
    if on_connect is not None:
        name, address = town.operations.keys.town, town.client.address.redacted
        on_connect(f"town {name} at {town.root}, server {address} {server}")
    return town


@contextlib.contextmanager
def _explained(state: str | None) -> Generator[None]:
    """Say why the server with its data in `state` is gone, if that is seen: on a full disk it ends itself rather than forget."""
    try:
        yield
    except ServerUnreachable as error:
        with contextlib.suppress(OSError):
            disk = os.statvfs(state) if state else None
            if disk and disk.f_bavail * disk.f_frsize < _FULL_BYTES:
                error.hint = (
                    f"the disk of {state} is full, make room on it: the server keeps nothing that it cannot write"
                )
        raise
