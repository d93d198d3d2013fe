"""The town's own snapshots: taken at intervals and when the kernel ends, the newest kept, outside of the project."""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import trio
from tinytown.config import Config
from tinytown.contracts import Service
from tinytown.errors import TinytownError
from tinytown.files import draft_of
from tinytown.redis import address_of
from tinytown.town import Town
from tinytown_cli.blocking_client import BlockingClient
from tinytown_cli.client import TownClient
from tinytown_cli.snapshot_files import snapshots_directory

from tinytown_snapshots.capture import Captured
from tinytown_snapshots.lines import to_bytes
from tinytown_snapshots.transfer import Transfer

_log = logging.getLogger("tinytown.snapshots")

_LAST_S = 5.0


class SnapshotService(Service):
    """Takes snapshots as ``[state]`` says. What has not changed since the newest one is not saved again."""

    name = "snapshots"

    async def run(self, town: Town) -> None:
        """Take one every ``snapshot_every_s``, and one when the kernel ends."""
        try:
            while True:
                await trio.sleep(town.config.state.snapshot_every_s)
                await trio.to_thread.run_sync(take_snapshot, town.root, town.config)
        finally:
            with trio.CancelScope(shield=True, relative_deadline=_LAST_S) as last, suppress(TinytownError, OSError):
                await trio.to_thread.run_sync(take_snapshot, town.root, town.config, abandon_on_cancel=True)
            if last.cancelled_caught:
                _log.warning("no snapshot was taken at the end: it took longer than %g s", _LAST_S)


def read_town(root: Path, config: Config) -> Captured:
    """The town at `root` as it is at one moment. Blocking. Raises: as `take_snapshot`, but for OSError."""
    with BlockingClient(address_of(root, config)) as client:
        town = TownClient(root, config, client)
        return Transfer(town, town.operations).read()


def take_snapshot(root: Path, config: Config) -> Path | None:
    """Save the town at `root` beside its state and remove the oldest snapshots; None if nothing has changed.

    Blocking. Raises: ServerUnreachable; Refused if the town changes too fast; OSError.
    """
    snapshot = read_town(root, config).snapshot
    text = to_bytes(snapshot)
    directory = snapshots_directory(root)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = sorted(directory.glob("*.jsonl"))
    if not any(snapshot.counts.values()) or (kept and kept[-1].read_bytes() == text):
        return None
    path = directory / datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ.jsonl")
    with draft_of(path, text, 0o600) as draft:
        draft.replace(path)
    for old in sorted({*kept, path})[: -config.state.snapshots]:
        old.unlink(missing_ok=True)
    return path
