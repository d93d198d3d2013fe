"""A town's events as lines of JSON in a file: the status sink `journal`. How the file is kept is said in `lines`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import trio
from tinytown.hookspecs import hookimpl
from tinytown.model.events import Event
from tinytown.state import state_directory
from tinytown_sinks import StatusSink

from tinytown_journal.lines import JournalFile

TINYTOWN_HOOK_API = 2


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[plugins.journal]``: where the file is, when a new one is begun, how many old ones stay, and what is durable.

    A relative `path` begins at the town's root; without one the file is ``journal.jsonl`` among the town's state. `max_bytes`
    of 0 means one file for ever. With `fsync` each batch is on the disk, not only with the operating system, before it
    counts as taken: a town that forgets nothing when its power is cut would not hand it over again.
    """

    path: str | None = None
    max_bytes: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000_000)] = 50 << 20
    keep: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000_000)] = 3
    fsync: bool = True


@hookimpl
def tinytown_settings_type() -> type[Settings]:
    return Settings


@hookimpl
def tinytown_status_sinks(settings: Settings, root: Path) -> list[StatusSink]:
    return [Journal(root / settings.path if settings.path else state_directory(root) / "journal.jsonl", settings)]


class Journal(StatusSink):
    """The status sink. The disk's work is done in a thread, and a batch that is being written is always finished."""

    name = "journal"

    def __init__(self, path: Path, settings: Settings) -> None:
        self._file = JournalFile(path, max_bytes=settings.max_bytes, keep=settings.keep, fsync=settings.fsync)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        await trio.to_thread.run_sync(self._file.open)
        try:
            yield
        finally:
            self._file.close()

    async def put(self, events: Sequence[Event]) -> None:
        await trio.to_thread.run_sync(self._file.append, tuple(events))
