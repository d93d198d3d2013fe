"""Reads a town into a snapshot and restores one, operation by operation, over any client.

Blocking; knows neither files nor the command line. A page takes the server some milliseconds, however large the town is.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Sequence
from itertools import islice
from typing import Any, Protocol, TypeVar

import msgspec
from tinytown.errors import Refused, TinytownError
from tinytown.model.ids import new_id
from tinytown.protocol import SCHEMA, Operation, TownOperations

from tinytown_snapshots.capture import Captured, capture
from tinytown_snapshots.functions import LEASE, LEASE_MS, PAGE, Emptied, SnapshotOperations
from tinytown_snapshots.merge_plan import Conflict, Plan, plan_merge
from tinytown_snapshots.records import Snapshot
from tinytown_snapshots.restore_rows import KNOWN_S, rows

T = TypeVar("T")

_PUT_AT_ONCE = 200
_TRIES = 5
#: A page is quick, but the server may be busy with a script of another town.
_TIMEOUT_S = 60.0

#: Types of events that do not concern what a snapshot holds.
_HARMLESS = frozenset(
    {
        "agent_activity",
        "agent_reported",
        "agent_state_changed",
        "plugin_reported",
        "sink_gap",
        "round_started",
        "host_joined",
        "host_left",
        "account_parked",
        "account_unparked",
        "budget_spent",
        "budgets_changed",
    }
)


class Runner(Protocol):
    """Runs operations: a `BlockingClient` or a `TownClient`."""

    def run(self, operation: Operation[T], *, timeout_s: float | None = None) -> T: ...

    def run_all(self, operations: Sequence[Operation[Any]]) -> list[Any]: ...


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a restore, or of a dry run: counts of records added and already there, and the conflicts."""

    added: dict[str, int]
    same: dict[str, int]
    conflicts: tuple[Conflict, ...]


class Transfer:
    """Saves, restores and resets the town of `operations` over `client`."""

    def __init__(self, client: Runner, operations: TownOperations, *, page: int = PAGE) -> None:
        self.client = client
        self.operations = operations
        self.functions = SnapshotOperations(operations.keys)
        self.page = page

    def run(self, operation: Operation[T]) -> T:
        """The result of an operation on a whole town, with a timeout of 60 s."""
        return self.client.run(operation, timeout_s=_TIMEOUT_S)

    def read(self) -> Captured:
        """The town as it is at one moment.

        A town of one page is read in one step. A larger one is read again if it changed meanwhile.

        Raises: Refused with code ``changing`` if it changes in each of five attempts.
        """
        for _ in range(_TRIES):
            first = self.run(self.functions.page(size=self.page))
            items, cursor = first.items, first.cursor
            while cursor:
                following = self.run(self.functions.page(cursor, size=self.page))
                items, cursor = items + following.items, following.cursor
            if not first.cursor or not self._changed_since(first.event):
                return capture(items, first.event)
        raise Refused(
            "the town changes faster than it can be read",
            hint="stop its kernels meanwhile: tt stop, then tt start",
            code="changing",
        )

    def _changed_since(self, event: str) -> bool:
        since = self.client.run(self.operations.events_after(event if event != "0-0" else "0", count=1000))
        return len(since) == 1000 or any(item.type not in _HARMLESS for item in since)

    def restore(
        self,
        incoming: Snapshot,
        *,
        merge: bool = False,
        dry_run: bool = False,
        story: str = "restored",
        known_s: int = KNOWN_S,
    ) -> Restored:
        """Restore a checked snapshot into an empty town or, with `merge`, add what the town lacks.

        Atomic: on any error nothing is restored. `story` is the first line of the traces of the messages, which are kept
        for `known_s` seconds.

        Raises: Refused if the town is not empty without `merge`, has another schema, or changes meanwhile.
        """
        if incoming.schema != SCHEMA:
            raise Refused(
                f"the snapshot is of a town with schema {incoming.schema!r}, this Tinytown knows {SCHEMA!r}",
                hint="use the version of Tinytown that saved it",
                code="other_schema",
            )
        with contextlib.nullcontext("") if dry_run else self.hold() as holder:
            for attempt in range(_TRIES):
                plan, captured = self._plan(incoming) if merge else (self._whole(incoming), None)
                if holder and any(plan.added.counts.values()):
                    try:
                        self._put(holder, plan.added, captured, story=story, known_s=known_s)
                    except Refused as error:
                        if not merge or error.code == "stale_lease" or attempt == _TRIES - 1:
                            raise
                        continue
                return Restored(added=plan.added.counts, same=plan.same, conflicts=plan.conflicts)
        raise AssertionError("it returns or raises")

    def _whole(self, incoming: Snapshot) -> Plan:
        page = self.run(self.functions.page(size=1))
        if page.cursor or len(page.items) > 1:
            raise Refused(
                "the town is not empty",
                hint="--merge adds what is missing, tt reset empties the town",
                code="not_empty",
            )
        return Plan(added=incoming, same=dict.fromkeys(incoming.counts, 0), conflicts=())

    def _plan(self, incoming: Snapshot) -> tuple[Plan, Captured]:
        captured = self.read()
        here = {item.id for item in captured.snapshot.messages}
        unknown = [item.id for item in incoming.messages if item.id not in here]
        known = self._in_pages([Operation(("EXISTS", self.operations.keys.trace(id_)), bool) for id_ in unknown])
        handled = frozenset(id_ for id_, exists in zip(unknown, known, strict=True) if exists)
        return plan_merge(captured.snapshot, captured.seq, incoming, handled=handled), captured

    def _put(self, holder: str, added: Snapshot, captured: Captured | None, *, story: str, known_s: int) -> None:
        agent_ids = {item.name: item.id for item in captured.snapshot.agents} if captured else {}
        while self.run(self.functions.sweep(holder)):
            pass
        try:
            waiting = rows(added, now_ms=int(time.time() * 1000), agent_ids=agent_ids, story=story, known_s=known_s)
            while chunk := list(islice(waiting, _PUT_AT_ONCE)):
                self.run(self.functions.put(holder, chunk))
            event = captured.event if captured else ""
            self.run(self.functions.list_all(holder, event=event, highest=added.highest_seq, settings=added.settings))
        except BaseException:
            with contextlib.suppress(TinytownError):
                while self.run(self.functions.sweep(holder)):
                    pass
            raise

    def reset(self) -> Emptied:
        """Remove everything but the settings, atomically. Raises: Refused while a kernel runs the town."""
        with self.hold() as holder:
            emptied = self.run(self.functions.reset(holder))
            while self.run(self.functions.sweep(holder)):
                pass
            self._remove_plugin_keys()
            return emptied

    def _remove_plugin_keys(self) -> None:
        cursor, keys = self.run(self.functions.plugin_keys())
        while cursor or keys:
            if keys:
                self.run(self.functions.unlink(keys))
            if not cursor:
                return
            cursor, keys = self.run(self.functions.plugin_keys(cursor))

    @contextlib.contextmanager
    def hold(self) -> Generator[str]:
        """Hold the lease of the town's transfers; its holder id. Raises: Refused with code ``busy``."""
        holder = new_id()
        if not self.client.run(self.operations.acquire_lease(LEASE, holder, lease_ms=LEASE_MS)):
            raise Refused(
                "another command is restoring or resetting this town",
                hint="try again when it has finished",
                code="busy",
            )
        try:
            yield holder
        finally:
            with contextlib.suppress(TinytownError):
                self.client.run(self.operations.release_lease(LEASE, holder))

    def _in_pages(self, operations: Sequence[Operation[T]]) -> list[T]:
        return [
            answer for i in range(0, len(operations), PAGE) for answer in self.client.run_all(operations[i : i + PAGE])
        ]
