"""One round: the work on one batch of an agent's mail, from the claim to the stored outcome.

Begins tasks, builds the prompt, runs the backend's session within its limits while renewing the leases, and settles
everything in one step by the outcome. Knows nothing of what happens between rounds (see `agent_worker`).
"""

from __future__ import annotations

import os
import random
import sysconfig
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import trio

from tinytown.concurrency import without_cancellations
from tinytown.config import TOWN_VARIABLE
from tinytown.contracts import AgentSession, Failed, Finished, Interrupted, Lost, Outcome, Round, Usage
from tinytown.errors import NotFound, ServerUnreachable, StaleLease, TinytownError
from tinytown.identity import (
    AGENT_ID_VARIABLE,
    AGENT_NAME_VARIABLE,
    ROUND_ID_VARIABLES,
    TASK_ID_VARIABLE,
    TASK_TOKEN_VARIABLE,
)
from tinytown.kernel.context import KernelContext
from tinytown.kernel.gates import run_gates
from tinytown.kernel.outcome_policy import Resolution, outcome_of, read_outcome, resolve
from tinytown.kernel.pricing import charge_of
from tinytown.kernel.prompt import NEEDED_SHOWN, build_prompt
from tinytown.kernel.recovery import machine_id
from tinytown.kernel.transcripts import RoundFiles, Tail
from tinytown.model.agents import Agent
from tinytown.model.ids import new_id
from tinytown.model.messages import Message, TaskAssign
from tinytown.model.results import Batch, Delivery
from tinytown.model.round_records import TEXT_CHARACTERS, RoundRecord
from tinytown.model.tasks import Task
from tinytown.model.text import shown
from tinytown.model.time import rfc3339
from tinytown.protocol.operation import Operation
from tinytown.roles import load_roles

_REPORT_EVERY_S = 0.5
_SETTLE_FOR_S = 60.0
_LAST_SETTLE_S = 5.0
_BEGIN_BOUND_S = 5.0
_AGAIN_S = 0.2
_HELD_TASK_MS = 60_000  # until the next check whether the budget of the task was raised
_OVERTIME_S = 10.0  # what a session may take beyond its limits before the kernel cuts it off


class Reporter:
    """The `Report` of one round: keeps the last lines and the usage; the round forwards lines at a bounded rate."""

    def __init__(self) -> None:
        self.latest: str | None = None
        self.tail = Tail()
        self.used: Usage | None = None

    def line(self, text: str) -> None:
        self.tail.add(text)
        if text.strip():
            self.latest = shown(text, 200)

    def usage(self, usage: Usage) -> None:
        self.used = usage


@dataclass(frozen=True, slots=True)
class _Work:
    """What one round is about. `began` is trio time."""

    round_id: str
    task: Task | None
    deliveries: tuple[Delivery, ...]
    files: RoundFiles
    reporter: Reporter = field(default_factory=Reporter)
    began: float = field(default_factory=trio.current_time)

    @property
    def task_id(self) -> str:
        """The id of the task; empty without one."""
        return self.task.id if self.task else ""


class RoundRunner:
    """Runs the rounds of one agent while this kernel holds its lease. Used by one task; the other methods but `run` may
    be called from others and act on the round in progress, if there is one."""

    def __init__(
        self,
        context: KernelContext,
        agent: Agent,
        get_session: Callable[[], Awaitable[AgentSession]],
        close_session: Callable[[], Awaitable[None]],
    ) -> None:
        self._context = context
        self._town = context.town
        self.agent = agent
        self._fence = agent.token or ""
        self._get_session = get_session
        self._close_session = close_session
        self._session_id = agent.session_id
        self._scope: trio.CancelScope | None = None  # while the backend works
        self._storing: trio.CancelScope | None = None
        self._gating: trio.CancelScope | None = None
        self._interrupt_reason: str | None = None
        self._lost_reason: str | None = None
        self._session_suspect = False
        self.round_id: str | None = None

    def interrupt(self, why: str) -> None:
        """End the round as interrupted."""
        if self.round_id is not None:
            self._interrupt_reason = self._interrupt_reason or why
            if self._scope is not None:
                self._scope.cancel()

    def lose_session(self, why: str) -> None:
        """End the round as lost: the session is gone."""
        self._lost_reason = why
        if self._scope is not None:
            self._scope.cancel()

    def hurry(self) -> None:
        """The outcome is stored in a few seconds or not at all; gates are left to the next kernel."""
        if self._storing is not None:
            self._storing.deadline = min(self._storing.deadline, trio.current_time() + _LAST_SETTLE_S)
        if self._gating is not None:
            self._gating.cancel()

    async def run_gates(self, task_id: str) -> None:
        """Run the gates on a submitted task; `hurry` ends that."""
        with trio.CancelScope() as self._gating:
            await run_gates(self._context, self.agent, task_id)

    async def run(self, batch: Batch) -> Resolution | None:
        """Do one round with the batch; its resolution, or None when there was nothing to do.

        Cancelled: the mail goes back untouched before Cancelled goes on.
        Raises: StaleLease when the agent belongs to another kernel; ServerUnreachable before the round has begun.
        """
        self.round_id = round_id = new_id()
        self._interrupt_reason, self._lost_reason, self._session_suspect = None, None, False
        try:
            # Shielded: a round that begins unnoticed could not be given back untouched.
            work: _Work | None = None
            with trio.CancelScope(shield=True, relative_deadline=_BEGIN_BOUND_S) as beginning:
                work = await self._begin(batch, round_id)
            if beginning.cancelled_caught:
                raise ServerUnreachable(f"the server did not answer for {_BEGIN_BOUND_S:g} s")
            if work is None:
                return None
            try:
                outcome = await self._outcome(work)
            except StaleLease:
                raise
            except BaseException:  # only a cancellation from outside, alone or in a group
                self._interrupt_reason = "its kernel was stopped"
                with suppress(TinytownError):
                    await self._store(Interrupted(reason=self._interrupt_reason), work, within_s=_LAST_SETTLE_S)
                raise
            settled, state = await self._store(outcome, work, within_s=_SETTLE_FOR_S)
            if self._session_suspect or isinstance(outcome, Lost):
                await self._close_session()
            if state == "verifying" and work.task is not None:
                await self.run_gates(work.task.id)
            return settled
        finally:
            self.round_id = self._storing = self._gating = None

    async def _begin(self, batch: Batch, round_id: str) -> _Work | None:
        """The work of the round, begun on the server; None when nothing in the batch is to be worked on."""
        deliveries = tuple(delivery for delivery in batch.deliveries if delivery.message is not None)
        if bad := [delivery for delivery in batch.deliveries if delivery.message is None]:
            call = self._town.operations.dead_letter(self.agent.id, bad, reason="its body cannot be decoded")
            await self._town.run(call)
        task, deliveries = await self._start_task(deliveries, round_id)
        if not deliveries:
            return None
        return _Work(round_id, task, deliveries, RoundFiles(self._town.root, self.agent.name, round_id))

    async def _start_task(
        self, deliveries: tuple[Delivery, ...], round_id: str
    ) -> tuple[Task | None, tuple[Delivery, ...]]:
        """Begin the task of the batch, if any; outdated orders are acknowledged and left out.

        The task keeps its previous `reason`, so that the agent learns why the task came back.
        """
        for delivery in deliveries:
            body = delivery.message.body if delivery.message else None
            if not isinstance(body, TaskAssign):
                continue
            operations, rest = self._town.operations, tuple(other for other in deliveries if other is not delivery)
            settle: Operation[Any] = operations.ack(self.agent.id, [delivery])
            with suppress(NotFound):
                before = await self._town.task(body.task_id)
                started = await self._town.run(operations.start_task(self.agent.id, self._fence, before.id, round_id))
                task = started.task
                if started.held:  # the rest of the mail does not wait for its budget
                    why = (task and task.reason) or "its budget is spent"
                    settle = operations.nack(
                        self.agent.id, [delivery], delay_ms=_HELD_TASK_MS, counts=False, reason=why
                    )
                elif task is not None and not started.stale:
                    return msgspec.structs.replace(task, reason=before.reason), deliveries
            await self._town.run(settle)
            return None, rest
        return None, deliveries

    async def _outcome(self, work: _Work) -> Outcome:
        """The outcome, by itself or interrupted."""
        outcome: Outcome | None = None
        try:
            with without_cancellations(), trio.CancelScope() as self._scope:
                call = self._town.operations.start_round(self.agent.id, self._fence, work.round_id, work.task_id)
                if await self._town.run(call) in ("paused", "stopped"):
                    # Requested after the claim: nothing has begun yet, so nothing is lost.
                    self.interrupt("requested by user")
                if self._interrupt_reason is not None:
                    self._scope.cancel()
                outcome = await self._run_beside_leases(work)
        except ServerUnreachable as error:
            outcome = outcome_of(error)
        finally:
            self._scope = None
        if self._lost_reason is not None and not isinstance(outcome, Finished):
            return Lost(reason=self._lost_reason)
        if outcome is None or (self._interrupt_reason is not None and not isinstance(outcome, Finished)):
            return Interrupted(reason=self._interrupt_reason or "interrupted")
        return outcome

    async def _run_beside_leases(self, work: _Work) -> Outcome | None:
        """Do the work while its leases are renewed and its progress is reported. What a plugin raises costs this round only."""
        outcome: Outcome | None = None
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._renew, work.deliveries)
            nursery.start_soon(self._report_progress, work)
            try:
                with without_cancellations():
                    outcome = await self._work(work)
            except Exception as error:  # leaves the nursery as it is, not in a group
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            self._session_suspect = True
            if not isinstance(failure, TinytownError):
                backend = self._context.plugins.backends.get(self.agent.cli)
                await self._context.report_fault(backend, f"backend {self.agent.cli}", failure)
            return outcome_of(failure)
        return outcome

    async def _work(self, work: _Work) -> Outcome:
        limits = self._town.config.round
        bound_s = limits.timeout_s + limits.grace_s + _OVERTIME_S if limits.timeout_s else float("inf")
        messages = tuple(delivery.message for delivery in work.deliveries if delivery.message is not None)
        async with self._context.open_workspace(self.agent, work.task) as directory:
            with self._context.processes.clock.move_on_after(bound_s):
                session = await self._get_session()
                prompt = await self._prompt(work.task, messages)
                about = f"{rfc3339(int(time.time() * 1000))}, {f'task {work.task_id}' if work.task else 'mail'}"
                work.files.begin(prompt, about, directory, self._town.config.limits)
                round_ = Round(
                    round_id=work.round_id,
                    prompt=prompt,
                    task=work.task,
                    messages=messages,
                    directory=directory,
                    environment=round_environment(self._town.root, self.agent, work.task, work.round_id),
                    log_path=work.files.log,
                    timeout_s=limits.timeout_s or None,
                    silence_s=limits.silence_s or None,
                    grace_s=limits.grace_s,
                    session_id=self._session_id,
                )
                return read_outcome(await session.run_round(round_, work.reporter))
        self._session_suspect = True
        return Failed(reason=f"the backend did not end within its limit of {limits.timeout_s:g} s")

    async def _prompt(self, task: Task | None, messages: tuple[Message, ...]) -> str:
        needed: list[Task] = []
        for need in task.needs[:NEEDED_SHOWN] if task else ():
            with suppress(NotFound):  # removed since
                needed.append(await self._town.task(need))
        return build_prompt(
            agent=self.agent,
            town=self._town.name,
            task=task,
            messages=messages,
            role=load_roles(self._town.config).get(self.agent.role or ""),
            needed=needed,
            colleagues=await self._context.colleagues(),
            sections=await self._context.prompt_sections(self.agent, task),
            explicit=self._town.config.round.completion == "explicit",
            guide=await self._context.reporting_guide(self.agent),
        )

    async def _renew(self, deliveries: tuple[Delivery, ...]) -> None:
        """Keep the leases of the batch; end the round when they are lost or could not be renewed for a whole lease."""
        lease_s = self._town.config.lease_s
        held_until = trio.current_time() + lease_s
        while True:
            await trio.sleep(lease_s / 3)
            try:
                with trio.move_on_after(lease_s / 3):
                    kept = await self._town.run(
                        self._town.operations.renew(self.agent.id, deliveries, lease_ms=int(lease_s * 1000))
                    )
                    if not all(kept):
                        self.interrupt("the lease on its mail was lost")
                        return
                    held_until = trio.current_time() + lease_s
            except TinytownError:
                pass  # below, when it lasts
            if trio.current_time() > held_until:
                self.interrupt("the server could not be reached for a whole lease")
                return

    async def _report_progress(self, work: _Work) -> None:
        reported: str | None = None
        while True:
            await trio.sleep(_REPORT_EVERY_S)
            if work.reporter.latest is None or work.reporter.latest == reported:
                continue
            reported = work.reporter.latest
            members = {"agent": self.agent.name, "text": reported, "task": work.task_id, "round_id": work.round_id}
            with suppress(TinytownError):
                await self._town.run(self._town.operations.emit("agent_reported", members))

    async def _store(self, outcome: Outcome, work: _Work, *, within_s: float) -> tuple[Resolution, str]:
        """Store the outcome, retrying while the lease may still be ours; shielded, because that is promised.

        Returns the resolution, and the state of the task afterwards.
        """
        duration_s = trio.current_time() - work.began
        settled = resolve(
            outcome,
            self._town.config.round,
            work.task,
            max(delivery.deliveries for delivery in work.deliveries),
            requested=self._interrupt_reason is not None,
        )
        if isinstance(outcome, Finished | Failed) and outcome.session_id:
            self._session_id = outcome.session_id
        usage = (outcome.usage if isinstance(outcome, Finished | Failed) else None) or work.reporter.used
        kind = str(outcome.__struct_config__.tag)
        ended_ms = int(time.time() * 1000)
        record = RoundRecord(
            round_id=work.round_id,
            agent=self.agent.name,
            cli=self.agent.cli,
            outcome=kind,
            reason=settled.reason,
            task=work.task_id or None,
            messages=tuple(delivery.message.id for delivery in work.deliveries if delivery.message),
            began_at=rfc3339(ended_ms - int(duration_s * 1000)),
            ended_at=rfc3339(ended_ms),
            duration_s=round(duration_s, 3),
            usage=None if usage is None else msgspec.structs.asdict(usage),
            text=settled.text[-TEXT_CHARACTERS:],
            session_id=self._session_id,
            host=machine_id().partition("/")[0],
            prompt_bytes=work.files.prompt_bytes,
        )
        work.files.end(f"{record.ended_at}, {kind}", work.reporter.tail)
        charge = charge_of(outcome, usage, self._town.config.rates.get(self.agent.cli))
        call = self._town.operations.settle_round(
            self.agent.id,
            self._fence,
            work.round_id,
            work.deliveries,
            outcome=kind,
            mail=settled.mail,
            delay_ms=int(settled.delay_s * 1000),
            reason=settled.reason,
            task_id=work.task_id,
            fate=settled.fate,
            text=settled.text,
            duration_ms=int(duration_s * 1000),
            session_id=self._session_id or "",
            record=msgspec.json.encode(record),
            throttled_ms=settled.throttled_ms,
            jitter=random.random(),
            charge=charge,
        )
        state = ""
        with trio.CancelScope(shield=True, relative_deadline=within_s) as self._storing:
            while True:
                try:
                    state = await self._town.run(call)
                except ServerUnreachable:
                    await trio.sleep(_AGAIN_S)
                except StaleLease:  # the outcome no longer counts, but its cost does
                    late = self._town.operations.charge_round(
                        self.agent.id, work.round_id, charge, task_id=work.task_id
                    )
                    with suppress(TinytownError):
                        await self._town.run(late)
                    raise
                else:
                    break
        return settled, state


_SCRIPTS = sysconfig.get_path("scripts")


def round_environment(root: Path, agent: Agent, task: Task | None, round_id: str) -> Mapping[str, str]:
    """The environment of a round's processes: the kernel's own, `tt` on the PATH, and the identity of the agent."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TINYTOWN_AGENT_")}
    path = ours.get("PATH", os.defpath)
    if _SCRIPTS not in path.split(os.pathsep):
        path = f"{_SCRIPTS}{os.pathsep}{path}"
    return ours | {
        "PATH": path,
        TOWN_VARIABLE: str(root),
        AGENT_ID_VARIABLE: agent.id,
        AGENT_NAME_VARIABLE: agent.name,
        TASK_ID_VARIABLE: task.id if task else "",
        TASK_TOKEN_VARIABLE: (task.token or "") if task else "",
        **dict.fromkeys(ROUND_ID_VARIABLES, round_id),
    }
