"""The sink `ledger`: events in a table of SQLite."""

import sqlite3
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio
from tinytown.hookspecs import hookimpl
from tinytown.model.events import Event, event_fields
from tinytown.state import state_directory
from tinytown_sinks import StatusSink

TINYTOWN_HOOK_API = 2


@hookimpl
def tinytown_services(root: Path) -> list[StatusSink]:
    return [Ledger(state_directory(root) / "ledger.db")]


class Ledger(StatusSink):
    name = "ledger"

    def __init__(self, path: Path) -> None:
        self.path = path

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        await trio.to_thread.run_sync(
            self._run, "CREATE TABLE IF NOT EXISTS events (n INTEGER PRIMARY KEY, id UNIQUE, fields)", []
        )
        yield

    async def put(self, events: Sequence[Event]) -> None:
        rows = [(event.id, msgspec.json.encode(event_fields(event)).decode()) for event in events]
        await trio.to_thread.run_sync(self._run, "INSERT OR IGNORE INTO events (id, fields) VALUES (?, ?)", rows)

    def _run(self, statement: str, rows: list[tuple[str, str]]) -> None:
        """One transaction; it is on the disk when this returns."""
        with closing(sqlite3.connect(self.path)) as database, database:
            if rows or "INSERT" in statement:
                database.executemany(statement, rows)
            else:
                database.execute(statement)


def scenarios(sandbox: Any) -> dict[str, object]:
    from tinytown_testing import SinkScenarios

    path = state_directory(sandbox.root) / "ledger.db"

    def received() -> list[str]:
        with closing(sqlite3.connect(path)) as database:
            return [id_ for (id_,) in database.execute("SELECT id FROM events ORDER BY n")]

    @contextmanager
    def unavailable() -> Iterator[None]:
        aside = path.rename(path.with_suffix(".aside"))
        path.mkdir()
        yield
        path.rmdir()
        aside.rename(path)

    return {"sink ledger": SinkScenarios(received=received, unavailable=unavailable)}
