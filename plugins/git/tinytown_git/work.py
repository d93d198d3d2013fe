"""The record of what was submitted: kept in the town as the plugin's data, where no round can write it. Pure but for `Records`.

It is changed only as it was read, so that a person, a gate and the queue do not overwrite each other.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeAlias

import msgspec
from tinytown.model.messages import Priority
from tinytown.model.text import shown
from tinytown.protocol import Operation, TownOperations

from tinytown_git.reservations import RESERVATIONS_FIELD, read_reservations, reserved_notice

PLUGIN = "git"

#: ``review``: it waits for a reviewer; ``queued``: to be merged; ``merging``: `result` is about to be its target's tip;
#: ``proposed``: its pull request, whose address is its `place`, is open;
#: ``merged``, ``accepted`` (without a queue) and ``refused`` are final, and the town gets a report, unless `reported`.
Stage: TypeAlias = Literal["review", "queued", "merging", "proposed", "merged", "accepted", "refused"]
FINAL: frozenset[Stage] = frozenset({"merged", "accepted", "refused"})

_FIELD = "work."
_LONGEST_FIELD = 128
#: An hour of waiting counts as much as the step from one priority to the next: no work waits for ever.
_HOURS: Mapping[Priority, float] = {"urgent": 3.0, "high": 2.0, "normal": 1.0, "low": 0.0}


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a declared check said of the tree `tree`: the end of its output, and the file with all of it."""

    name: str
    passed: bool
    tree: str
    output: str = ""
    duration_s: float = 0.0
    log: str = ""


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """A reviewer's verdict on a commit. `by` is an agent's name, or ``supervisor`` for a person."""

    by: str
    at: str
    approved: bool
    commit: str
    reason: str = ""


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What a round has submitted for a task: the `commit` on `branch`, begun from `base`, to be merged into `target`.

    Branches are full names of refs. `reason` is why it is at its stage; `onto` and `result` are what the target's tip was and is
    to be; `place` is the branch that it was merged into, or the address of its pull request.
    """

    task: str
    title: str
    agent: str
    agent_id: str
    round_id: str
    commit: str
    base: str
    branch: str
    target: str | None
    stage: Stage
    priority: Priority = "normal"
    at_ms: int = 0
    since_ms: int = 0
    reason: str = ""
    checks: tuple[CheckResult, ...] = ()
    reviews: tuple[Review, ...] = ()
    review_task: str = ""
    onto: str = ""
    result: str = ""
    place: str = ""
    reported: bool = False

    @property
    def field(self) -> str:
        return field_of(self.task)

    def score(self, now_ms: int) -> float:
        """Its place in the queue: the highest is next."""
        return _HOURS[self.priority] + (now_ms - self.at_ms) / 3_600_000


class QueueState(msgspec.Struct, frozen=True, kw_only=True):
    """The queue as a whole: why it is `paused` (empty: it is not), and what waits for `target` on the branch `collected`.

    `stale` is in what way new work begins from an old base: what its branch lacks of its upstream, or why that is not known.
    """

    paused: str = ""
    by: str = ""
    target: str = ""
    collected: str = ""
    reason: str = ""
    stale: str = ""


QUEUE_FIELD = "queue"
#: What `tt status` shows of the plugin, if anything.
NOTICE_FIELD = "notice"
#: Why nothing is added to the ledger; not there if all is well.
LEDGER_FIELD = "ledger"


def field_of(task: str) -> str:
    """The field of a task's record. Ids of tasks may be as long as a field."""
    field = _FIELD + task
    return field if len(field) <= _LONGEST_FIELD else _FIELD + hashlib.sha256(task.encode()).hexdigest()


def works_in(data: Mapping[str, Any]) -> list[Work]:
    """The records among the plugin's data. What cannot be read is left out."""
    found: list[Work] = []
    for field, value in data.items():
        if field.startswith(_FIELD) and (work := read_work(value)):
            found.append(work)
    return found


def read_work(value: Any) -> Work | None:
    """A record from the plugin's data."""
    try:
        return None if value is None else msgspec.convert(value, Work)
    except msgspec.ValidationError:
        return None


def queue_state(value: Any) -> QueueState:
    """The state of the queue from the plugin's data."""
    try:
        return QueueState() if value is None else msgspec.convert(value, QueueState)
    except msgspec.ValidationError:
        return QueueState()


def notice(state: QueueState) -> str | None:
    """What is said of the queue: why nothing is merged, or what waits for the person, and what to type."""
    said: list[str] = []
    if state.paused:
        said.append(f"merging is paused by {state.by}: {shown(state.paused, 300)}; continue with: tt merge resume")
    elif state.collected:
        collected, target = (name.removeprefix("refs/heads/") for name in (state.collected, state.target))
        said.append(
            f"merged work waits on {collected} for {target or 'a branch'}: {shown(state.reason, 300)}; commit or stash your "
            f"changes (git stash -u) and it follows by itself, or type: git merge {collected}"
        )
    if state.stale:
        said.append(f"new work begins from a stale base: {shown(state.stale, 300)}")
    return "; ".join(said) or None


def town_notice(queue: Any, reservations: Any) -> str | None:
    """What ``tt status`` says of the plugin, by the two fields of its data."""
    reserved = read_reservations(reservations, int(time.time() * 1000))
    return "; ".join(filter(None, (notice(queue_state(queue)), reserved_notice(reserved)))) or None


Run: TypeAlias = Callable[[Operation[Any]], Awaitable[Any]]


class Records:
    """The records of a town, over a connection that `run` sends operations on."""

    def __init__(self, operations: TownOperations, run: Run) -> None:
        self._operations = operations
        self._run = run

    async def read(self, task: str) -> Work | None:
        return read_work(await self._run(self._operations.plugin_field(PLUGIN, field_of(task))))

    async def all(self) -> tuple[list[Work], QueueState]:
        """All records, and the state of the queue."""
        data = await self._run(self._operations.plugin_data(PLUGIN))
        return works_in(data), queue_state(data.get(QUEUE_FIELD))

    async def change(
        self, before: Work | None, after: Work | None, event: tuple[str, Mapping[str, str]] | None = None
    ) -> bool:
        """Write a record that is still as it was read; False if it is not. With an event if it has changed."""
        field = (after or before).field  # type: ignore[union-attr]
        plugin_field, write = self._operations.plugin_field, self._operations.set_plugin_field
        if await self._run(write(PLUGIN, field, _plain(after), expected=_plain(before), event=event)):
            return True
        kept = await self._run(plugin_field(PLUGIN, field))
        if kept is None or kept == _plain(before) or read_work(kept) != before:
            return False
        # The same, as another version of the plugin has written it.
        return bool(await self._run(write(PLUGIN, field, _plain(after), expected=kept, event=event)))

    async def change_queue(self, before: QueueState, after: QueueState) -> bool:
        """Write the state of the queue, if it is still as it was read, and what ``tt status`` says of it."""
        expected = None if before == QueueState() else _plain(before)
        value = None if after == QueueState() else _plain(after)
        write, read = self._operations.set_plugin_field, self._operations.plugin_field
        reserved = await self._run(read(PLUGIN, RESERVATIONS_FIELD))
        if not await self._run(write(PLUGIN, QUEUE_FIELD, value, expected=expected)):
            kept = await self._run(read(PLUGIN, QUEUE_FIELD))  # the same, as another version has written it?
            if kept == expected or queue_state(kept) != before:
                return False
            if not await self._run(write(PLUGIN, QUEUE_FIELD, value, expected=kept)):
                return False
        if notice(before) != notice(after):
            await self._run(write(PLUGIN, NOTICE_FIELD, town_notice(value, reserved)))
        return True

    async def write_notice(self) -> None:
        """Write what ``tt status`` says of the plugin, by what is recorded now."""
        read, write = self._operations.plugin_field, self._operations.set_plugin_field
        values = [await self._run(read(PLUGIN, field)) for field in (QUEUE_FIELD, RESERVATIONS_FIELD)]
        await self._run(write(PLUGIN, NOTICE_FIELD, town_notice(*values)))

    async def note_stale(self, text: str) -> None:
        """Note in what way new work begins from an old base; empty if it does not."""
        state = queue_state(await self._run(self._operations.plugin_field(PLUGIN, QUEUE_FIELD)))
        if state.stale != text:
            await self.change_queue(state, msgspec.structs.replace(state, stale=text))


def _plain(value: Any) -> Any:
    return None if value is None else msgspec.to_builtins(value)
