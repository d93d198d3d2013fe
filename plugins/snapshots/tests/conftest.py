"""The protocol's server and towns, for moving whole towns on it."""

from __future__ import annotations

from tinytown.redis import BlockingClient
from tinytown_snapshots.checks import check
from tinytown_snapshots.lines import gather, read_lines, to_bytes
from tinytown_snapshots.records import Snapshot
from tinytown_snapshots.transfer import Transfer

from tests.protocol.conftest import Town, _numbers, client, deadline, town

__all__ = ["another_town", "client", "deadline", "loaded", "saved", "town", "transfer"]


def another_town(client: BlockingClient, **settings: int) -> Town:
    """A new, empty town beside those that are there."""
    town = Town(client, f"town-{next(_numbers)}")
    town.run(town.operations.setup(settings))
    return town


def transfer(town: Town, *, page: int = 1000) -> Transfer:
    return Transfer(town.client, town.operations, page=page)


def saved(town: Town, *, page: int = 1000) -> bytes:
    """The town as a file."""
    return to_bytes(transfer(town, page=page).read().snapshot)


def loaded(content: bytes) -> Snapshot:
    """What a file holds, checked."""
    numbered = read_lines(content)
    check(numbered)
    return gather(numbered)
