"""What the plugin adds to the townhall: snapshots, taken and restored. Made for the contracts of `tinytown_townhall`, which need
not be installed.

A snapshot is named, never a path: ``tinytown.jsonl`` of the project, or one that the town's kernel took.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
from tinytown.errors import NotFound
from tinytown.model.text import shown
from tinytown.model.time import rfc3339
from tinytown.town import Town
from tinytown_cli.public import answer_command
from tinytown_cli.snapshot_files import snapshots_directory

from tinytown_snapshots.cli_commands import DEFAULT_FILE, restore, save
from tinytown_snapshots.merge_plan import Conflict


class Caller(Protocol):
    """Who sends a request, and the town that it is about."""

    @property
    def town(self) -> Town: ...


class SnapshotFile(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot that can be restored by its name."""

    name: str
    at: str
    size_bytes: int


class SnapshotList(msgspec.Struct, frozen=True, kw_only=True):
    """The snapshots on the town's machine, the newest first."""

    snapshots: Sequence[SnapshotFile]


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """What was saved; an unchanged town leaves the file as it was."""

    file: str
    changed: bool
    size_bytes: int
    agents: int
    tasks: int
    messages: int
    dead_letters: int
    plugin_data: int


class Restore(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Into an empty town, or with `merge` into any: what is missing is added. With `dry_run` nothing is changed."""

    merge: bool = False
    dry_run: bool = False


class RestoredView(msgspec.Struct, frozen=True, kw_only=True):
    """What was restored: counts of what was added and what was there, and what could not be."""

    file: str
    merge: bool
    dry_run: bool
    added: Mapping[str, int]
    same: Mapping[str, int]
    conflicts: Sequence[Conflict]


class Route(NamedTuple):
    """A route of the townhall."""

    method: str
    path: str
    scope: str
    function: Callable[..., Awaitable[Any]]


def _files(root: Path) -> dict[str, Path]:
    """The snapshots of the town by name, the newest first."""
    kept = sorted(snapshots_directory(root).glob("*.jsonl"), reverse=True)
    own = root / DEFAULT_FILE
    return {path.name: path for path in ([own] if own.is_file() else []) + kept}


async def list_snapshots(call: Caller) -> SnapshotList:
    """The snapshots on the town's machine: of tt save, and those that its kernel took."""
    found = [(name, path.stat()) for name, path in _files(call.town.root).items()]
    return SnapshotList(
        snapshots=[
            SnapshotFile(name=name, at=rfc3339(int(stat.st_mtime * 1000)), size_bytes=stat.st_size)
            for name, stat in found
        ]
    )


async def save_town(call: Caller) -> Saved:
    """Save the town's agents, tasks and mail to tinytown.jsonl in the project."""
    return await answer_command(save, call.town.root, Saved, file=None)


async def restore_town(call: Caller, snapshot: str, body: Restore) -> RestoredView:
    """Restore a snapshot by its name; all of it is checked first, and it is restored in one step."""
    path = _files(call.town.root).get(snapshot)
    if path is None:
        raise NotFound(f"no snapshot called {shown(snapshot)!r}", hint="GET /v1/snapshots lists them")
    return await answer_command(
        restore, call.town.root, RestoredView, file=path, merge=body.merge, dry_run=body.dry_run
    )


class SnapshotsExtension:
    """Snapshots over HTTP and for models."""

    name = "snapshots"
    panels = ()
    page = None
    routes = (
        Route("GET", "/v1/snapshots", "town.read", list_snapshots),
        Route("POST", "/v1/snapshots", "town.write", save_town),
        Route("POST", "/v1/snapshots/{snapshot}/restore", "admin", restore_town),
    )

    async def waiting(self, town: Town) -> Sequence[object]:
        """A snapshot waits for nobody."""
        return ()
