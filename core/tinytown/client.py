"""A blocking client of a town: found by its directory, with its settings read and its server up.

Starts the town's own server if necessary, installs the function library if the server lacks it, and refuses data of
another version. Imports neither trio nor redis-py. Knows nothing of commands.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tinytown.config import Config, find_town, load_config
from tinytown.errors import ServerUnreachable, TinytownError
from tinytown.identity import Caller, caller_in
from tinytown.protocol.operation import Operation
from tinytown.protocol.operations import TownOperations
from tinytown.redis.blocking_client import BlockingClient
from tinytown.redis.locate import address_of, ensure_server

if TYPE_CHECKING:
    from tinytown.model.events import Event

__all__ = ["LONGEST_WAIT_S", "TownClient", "connect", "open_town_client"]

T = TypeVar("T")

#: How long one wait for events lasts at most; the caller can check again then, in case an event was missed.
LONGEST_WAIT_S = 5.0

#: A disk with less room than this is full.
_FULL_BYTES = 1 << 20


class TownClient:
    """A connected town, for the length of one command. Blocking, without trio; see `open_town_client`.

    `root` is the town's directory, `config` its settings, `caller` the agent or user that this process acts for, and `operations`
    what `run` takes. Methods raise the errors of the operations and of `BlockingClient`: ServerUnreachable, Unconfirmed.
    """

    def __init__(self, root: Path, config: Config, client: BlockingClient) -> None:
        self.root = root
        self.config = config
        self.client = client
        self.operations = TownOperations(config.name, message_limit_bytes=config.limits.message_bytes)
        self.caller: Caller = caller_in(root)

    def run(self, operation: Operation[T], *, timeout_s: float | None = None) -> T:
        """The town's answer to `operation`, within `timeout_s` seconds (default: those of the client)."""
        return self.client.run(operation, timeout_s=timeout_s)

    def run_all(self, operations: Sequence[Operation[Any]]) -> list[Any]:
        """The town's answers to `operations`, sent at once. Raises: the first error among the answers."""
        answers = self.client.run_all(operations)
        for answer in answers:
            if isinstance(answer, TinytownError):
                raise answer
        return answers

    def make_ready(self) -> None:
        """Install the functions if the server lacks them. Raises: Refused for data of another version."""
        self.run(self.operations.setup({}))

    def server_info(self) -> dict[str, str]:
        """The server's INFO, by the names of its fields."""
        info: bytes = self.client.command("INFO")
        return dict(line.split(":", 1) for line in info.decode(errors="replace").split("\r\n") if ":" in line)

    def server_version(self) -> str:
        """The version of the server, Valkey's own where it is one."""
        fields = self.server_info()
        return fields.get("valkey_version") or fields.get("redis_version") or self.client.server_version

    def now_ms(self) -> int:
        """The server's clock, in milliseconds since 1970."""
        seconds, microseconds = self.client.command("TIME")
        return int(seconds) * 1000 + int(microseconds) // 1000

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
                ensure_server(self.root, self.config)
                batch = self.run(call, timeout_s=wait_s + self.client.timeout_s)
            yield batch
            if batch:
                cursor = batch[-1].id


@contextlib.contextmanager
def open_town_client(
    root: Path | None = None, *, on_connect: Callable[[str], None] | None = None
) -> Generator[TownClient]:
    """The town that the directory `root` lies in, with its server up and its functions installed.

    `root` is by default TINYTOWN_TOWN, else the current directory. `on_connect` is called once with a line that says which
    town and server are used.
    Raises: NotFound without a town; ConfigError; ServerUnreachable if no connection succeeds; Refused for data of another
    version.
    """
    town_root = find_town(root)
    with connect(town_root, load_config(town_root), on_connect=on_connect) as town:
        yield town


@contextlib.contextmanager
def connect(root: Path, config: Config, *, on_connect: Callable[[str], None] | None = None) -> Generator[TownClient]:
    """Like `open_town_client`, for a town whose root and settings are known."""
    began = time.monotonic()
    with _explained(root, config):
        server = ensure_server(root, config)
        with BlockingClient(address_of(root, config)) as client:
            town = TownClient(root, config, client)
            town.make_ready()
            if on_connect is not None:
                on_connect(
                    f"town {config.name} at {root}, server {client.address.redacted} {server} "
                    f"in {(time.monotonic() - began) * 1000:.0f} ms"
                )
            yield town


@contextlib.contextmanager
def _explained(root: Path, config: Config) -> Generator[None]:
    """Say why the town's own server has gone, where that is seen: on a full disk it ends itself rather than forget."""
    try:
        yield
    except ServerUnreachable as error:
        with contextlib.suppress(OSError):
            disk = os.statvfs(root)
            if config.redis.url is None and disk.f_bavail * disk.f_frsize < _FULL_BYTES:
                error.hint = (
                    f"the disk of {root} is full, make room on it: its server keeps nothing that it cannot write"
                )
        raise
