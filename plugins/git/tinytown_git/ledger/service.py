"""Writes the ledger: in one kernel of the town, one commit for each interval in which something has changed.

What is written is the difference between what the branch says and what the town says, up to one event. The branch itself says
which event that is, so that a kernel that was killed, another host, and a branch that was set back all continue correctly.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import trio
from tinytown.config import Config
from tinytown.contracts import Service
from tinytown.errors import NotFound, Refused, ServerUnreachable, TinytownError
from tinytown.model.events import AgentRemoved, Event, RoundEnded, TaskDeleted, TaskStateChanged
from tinytown.model.round_records import RoundRecord
from tinytown.model.text import counted, shown
from tinytown.redis import address_of
from tinytown.town import Town
from tinytown_cli import administration
from tinytown_cli.public import DOCTOR_AGENT, is_doctors
from tinytown_snapshots.records import AgentRecord, Snapshot
from tinytown_snapshots.rotation import read_town

from tinytown_git.ledger.branch import Branch
from tinytown_git.ledger.lines import (
    FORMAT,
    VERSION,
    GapLine,
    Header,
    Ledger,
    Line,
    Position,
    RemovedLine,
    RoundLine,
    VerdictLine,
    to_line,
)
from tinytown_git.ledger.masking import mask, secret_values
from tinytown_git.repository import find_repository
from tinytown_git.settings import Settings
from tinytown_git.work import LEDGER_FIELD, PLUGIN, Records

_log = logging.getLogger("tinytown.git")

#: Events after which the town may have something that the ledger lacks.
_NEWS = frozenset(
    {"round_ended", "agent_spawned", "agent_removed", "agent_reclaimed", "agent_desired_state_changed"}
    | {"task_added", "task_updated", "task_state_changed", "task_deleted"}
)
_LAST_S = 5.0
_KEPT_S = 3_600.0
_READ_AT_ONCE = 500
_TEXT = 200
_REASON = 500


class LedgerService(Service):
    """Keeps the ledger of the whole town."""

    name = "ledger"
    scope: Literal["host", "town"] = "town"

    def __init__(self, settings: Settings, config: Config) -> None:
        self._settings = settings
        self._config = config

    async def run(self, town: Town) -> None:
        writer = LedgerWriter(self._settings, self._config, town)
        try:
            while True:
                position = town.position.value
                await writer.attempt()
                while town.position.value == position:
                    await town.wait_for_change(position)
                await trio.sleep(self._settings.ledger_every_s)
        finally:
            with trio.CancelScope(shield=True, relative_deadline=_LAST_S), suppress(TinytownError, OSError):
                await writer.write()


@dataclass(slots=True)
class _Draft:
    """The lines of one commit."""

    ledger: Ledger
    values: list[bytes]
    lines: list[bytes]
    records: int = 0
    rounds: int = 0
    verdicts: int = 0

    def add(self, line: Line) -> None:
        self.lines.append(mask(to_line(line), self.values))

    def add_once(self, line: RoundLine | VerdictLine | GapLine) -> None:
        if self.ledger.lacks(line):
            self.add(line)
            self.rounds += isinstance(line, RoundLine)
            self.verdicts += isinstance(line, VerdictLine)
            self.ledger.add(self.lines[-1].rstrip(b"\n"))

    def add_removed(self, line: RemovedLine) -> None:
        """Add that something is gone which the ledger has: what came and went between two commits leaves no trace."""
        if self.ledger.has(line.kind, line.id):
            self.add(line)
            self.records += 1
            self.ledger.add(self.lines[-1].rstrip(b"\n"))


class LedgerWriter:
    """Adds to the ledger what a town lacks in it."""

    def __init__(self, settings: Settings, config: Config, town: Town) -> None:
        self._settings = settings
        self._config = config
        self._town = town
        self._known: tuple[str, Ledger] | None = None
        self._problem: str | None = None

    async def attempt(self) -> None:
        """Write, and note in the town why it could not be done. Raises: ServerUnreachable."""
        problem = ""
        try:
            await self.write()
        except ServerUnreachable:
            raise
        except (TinytownError, OSError) as error:
            problem = shown(f"{error}", _REASON)
        if problem != self._problem:
            if problem:
                _log.warning("nothing is added to the ledger: %s", problem)
            await self._town.run(self._town.operations.set_plugin_field(PLUGIN, LEDGER_FIELD, problem or None))
            self._problem = problem

    async def write(self) -> str | None:
        """Add one commit with what is new; the commit, None if nothing is.

        Raises: GitFailed; Refused where the branch is no ledger of this town, or checked out; UsageError for an invalid line.
        """
        repository = await find_repository(self._town.root)
        # What housekeeping does where tasks have worktrees: after longer than a garbage collection takes.
        repository.release_packs(_KEPT_S)
        repository.remove_quarantines(_KEPT_S)
        branch = Branch(repository, self._settings.ledger_branch)
        tip = await branch.tip()
        source = None if tip else await branch.source()
        parent = tip or (source[1] if source else None)
        ledger = await self._read(branch, parent)
        if ledger.position and not await self._has_news(ledger.position.event) and tip:
            return None
        if place := await branch.checked_out():
            raise Refused(f"{branch.name} is checked out in {place}", hint=f"git -C {place} switch another branch")
        self._known = None  # until what is added to it is on the branch
        draft = await self._draft(ledger)
        if not draft.lines:
            return None
        counts = ((draft.records, "record"), (draft.rounds, "round"), (draft.verdicts, "verdict"))
        subject = f"Ledger: {', '.join(counted(count, name) for count, name in counts if count) or 'a gap'}"
        commit = await branch.append(parent, b"".join(draft.lines), subject, known=tip is not None)
        if commit is not None:
            for line in draft.lines:
                ledger.add(line.rstrip(b"\n"))
            self._known = commit, ledger
        return commit

    async def _read(self, branch: Branch, commit: str | None) -> Ledger:
        if commit is None:
            return Ledger()
        if self._known is None or self._known[0] != commit:
            self._known = commit, await branch.read(commit)
        ledger = self._known[1]
        if ledger.header is None or ledger.header.town != self._town.name:
            other = ledger.header.town if ledger.header else ""
            raise Refused(
                f"{branch.name} is the ledger of the town {shown(other)!r}, not of {self._town.name!r}",
                hint="set another ledger_branch in [plugins.git]",
            )
        return ledger

    async def _has_news(self, event: str) -> bool:
        """Whether anything has happened since `event` that the ledger may hold."""
        after = event
        while events := await self._events(after, _READ_AT_ONCE):
            if any(each.type in _NEWS and not is_doctors(each) for each in events):
                return True
            after = events[-1].id
        return False

    async def _events(self, after: str, count: int) -> tuple[Event, ...]:
        return await self._town.run(self._town.operations.events_after(after, count=count))

    async def _draft(self, ledger: Ledger) -> _Draft:
        """What the branch lacks, as lines, the position last; none if it lacks nothing."""
        captured = await trio.to_thread.run_sync(read_town, self._town.root, self._config)
        password = await trio.to_thread.run_sync(_password, self._town, self._config)
        draft = _Draft(ledger, secret_values(os.environ, password), [])
        header = Header(format=FORMAT, version=VERSION, town=self._town.name, schema=captured.snapshot.schema)
        is_new = ledger.header != header
        ledger.header = header
        at = await self._add_history(draft, captured.event)
        changed = ledger.changed(_records(captured.snapshot, draft.values))
        draft.lines += changed
        draft.records += len(changed)
        if draft.lines:
            if is_new:
                draft.lines.insert(0, to_line(header))
            draft.add(Position(event=captured.event, at=at))
        return draft

    async def _add_history(self, draft: _Draft, until: str) -> str:
        """Add what the events up to `until` say; when that was."""
        after = draft.ledger.position.event if draft.ledger.position else "0"
        oldest = await self._events("0", 1)
        at = oldest[0].at if oldest else ""
        if after != "0" and oldest and _order(oldest[0].id) > _order(after):
            draft.add_once(GapLine(after=after, before=oldest[0].id))
        while events := await self._events(after, _READ_AT_ONCE):
            for event in events:
                if _order(event.id) > _order(until):
                    return at
                at = event.at
                await self._add_event(draft, event)
            after = events[-1].id
        return at

    async def _add_event(self, draft: _Draft, event: Event) -> None:
        if is_doctors(event):
            return
        match event:
            case RoundEnded():
                draft.add_once(round_line(event, await self._record(event)))
            case TaskStateChanged() if event.old == "verifying" and event.new != "cancelled":
                for line in await self._verdicts(event):
                    draft.add_once(line)
            case TaskDeleted():
                draft.add_removed(RemovedLine(kind="task", id=event.task, at=event.at))
            case AgentRemoved():
                draft.add_removed(RemovedLine(kind="agent", id=event.agent, at=event.at))
            case _:
                return

    async def _record(self, event: RoundEnded) -> RoundRecord | None:
        """The record of the round, if it is still there."""
        read = administration.rounds(self._town.operations.keys, event.agent, round_id=event.round_id, limit=1)
        with suppress(NotFound):  # its agent was removed
            records = await self._town.run(read)
            return records[0] if records else None
        return None

    async def _verdicts(self, event: TaskStateChanged) -> list[VerdictLine]:
        """What was said of the work on a task that has just been judged. By its record, which no round can write."""
        work = await Records(self._town.operations, self._town.run).read(event.task)
        passed = event.new == "completed"
        lines: list[VerdictLine] = []
        if work is not None:
            for check in work.checks:
                lines.append(
                    VerdictLine(
                        kind="check", task=work.task, by=check.name, passed=check.passed, at=event.at, commit=work.commit,
                        reason="" if check.passed else shown(check.output.strip().rpartition("\n")[2], _REASON),
                    )
                )  # fmt: skip
            for review in work.reviews:
                lines.append(
                    VerdictLine(
                        kind="review", task=work.task, by=review.by, passed=review.approved, at=event.at,
                        commit=review.commit, reason=shown(review.reason, _REASON),
                    )
                )  # fmt: skip
            if passed and work.stage == "merged":
                place = work.place.removeprefix("refs/heads/")
                commit = work.result or work.commit
                lines.append(
                    VerdictLine(kind="merge", task=work.task, by=place, passed=True, at=event.at, commit=commit)
                )
        reason = "" if passed else shown(event.reason or "", _REASON)
        lines.append(
            VerdictLine(
                kind="gates", task=event.task, passed=passed, at=event.at, reason=reason,
                by=event.agent or "", commit=work.commit if work else "",
            )
        )  # fmt: skip
        return lines


def round_line(event: RoundEnded, record: RoundRecord | None) -> RoundLine:
    """A round by its record, or by what its event says where the record is gone."""
    if record is None:
        return RoundLine(
            round_id=event.round_id,
            outcome=event.outcome,
            agent=event.agent,
            task=event.task or "",
            reason=shown(event.reason or "", _REASON),
            ended_at=event.at,
            duration_s=(event.duration_ms or 0) / 1000,
        )
    return RoundLine(
        round_id=record.round_id,
        outcome=record.outcome,
        agent=record.agent,
        cli=record.cli,
        task=record.task or "",
        reason=shown(record.reason, _REASON),
        text=shown(record.text.strip().rpartition("\n")[2], _TEXT),
        began_at=record.began_at,
        ended_at=record.ended_at or event.at,
        duration_s=record.duration_s,
        usage={name: value for name, value in (record.usage or {}).items() if value},
    )


def _records(snapshot: Snapshot, values: list[bytes]) -> Iterator[tuple[str, bytes]]:
    """The lines of agents and tasks, by kind and id, without those of ``tt doctor``."""
    for agent in snapshot.agents:
        if agent.name != DOCTOR_AGENT:
            yield f"agent {agent.id}", mask(to_line(_lasting(agent)), values)
    for task in snapshot.tasks:
        if task.assigned_to != DOCTOR_AGENT:
            yield f"task {task.id}", mask(to_line(task), values)


def _lasting(agent: AgentRecord) -> AgentRecord:
    """An agent without what changes with each round."""
    changes: dict[str, Any] = {"tasks_completed": 0, "failures": 0}
    if not agent.max_rounds:
        changes["rounds_completed"] = 0
    if agent.state == "suspended":
        changes |= {"state": "", "reason": "", "since": ""}
    return msgspec.structs.replace(agent, **changes)


def _password(town: Town, config: Config) -> str | None:
    return address_of(town.root, config).password


def _order(event: str) -> tuple[int, int]:
    """An event's id as something that grows."""
    ms, _, number = event.partition("-")
    return int(ms), int(number or 0)
