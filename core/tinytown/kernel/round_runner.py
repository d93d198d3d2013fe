"""One round: the work on one batch of an agent's mail, from the claim to the stored outcome.

Begins tasks, builds the prompt, runs the backend's session within its limits while renewing the leases, and settles
everything in one step by the outcome. Knows nothing of what happens between rounds (see `agent_worker`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import msgspec
import trio

from tinytown.concurrency import open_background, plugin_code
from tinytown.contracts import (
    NEEDED_SHOWN,
    AgentBackend,
    AgentSession,
    Failed,
    Finished,
    Interrupted,
    Lost,
    Outcome,
    PromptParts,
    Round,
    WorkContext,
)
from tinytown.errors import (
    HostFailure,
    NotFound,
    PluginFaulty,
    ServerUnreachable,
    StaleLease,
    TinytownError,
    host_failure,
)
from tinytown.kernel.boxes import log_path
from tinytown.kernel.context import KernelContext
from tinytown.kernel.gates import run_gates, wanting_gates
from tinytown.kernel.host_limits import check_room
from tinytown.kernel.outcome_policy import Resolution, brief, outcome_of, read_outcome, resolve
from tinytown.kernel.pricing import charge_of
from tinytown.kernel.prompt import build_prompt
from tinytown.kernel.recovery import machine_id
from tinytown.kernel.reporter import Reporter
from tinytown.kernel.workspaces import claiming, open_workspace
from tinytown.model.agents import Agent
from tinytown.model.ids import new_id
from tinytown.model.messages import Message, TaskAssign
from tinytown.model.results import Batch, Delivery, Started
from tinytown.model.round_records import TEXT_CHARACTERS, RoundRecord
from tinytown.model.tasks import Task, only_task
from tinytown.model.time import rfc3339
from tinytown.protocol.operation import Operation
from tinytown.state import state_directory

_SETTLE_FOR_S = 60.0
_LAST_REPORTS_S = 2.0
_LAST_SETTLE_S = 5.0
_BEGIN_BOUND_S = 5.0
_AGAIN_S = 0.2
_MOMENT_S = 0.5
_LOST_TOGETHER = 2  # after so many rounds of a task that were lost with their kernels it runs alone
_HELD_TASK_MS = 60_000  # until the next check whether the budget of the task was raised
_OVERTIME_S = 10.0  # what a session may take beyond its limits before the kernel cuts it off


@dataclass(slots=True)
class _Work:
    """What one round is about. `began` is trio time; of `deliveries`, those `unseen` came later and no model has them yet;
    `shown` is what the session has got, once it has."""

    round_id: str
    tasks: list[Task]
    deliveries: list[Delivery]
    context: WorkContext
    reporter: Reporter
    began: float = field(default_factory=trio.current_time)
    unseen: list[Delivery] = field(default_factory=list[Delivery])
    shown: Round | None = None

    @property
    def task_ids(self) -> list[str]:
        return [task.id for task in self.tasks]


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
        self.urgent = trio.Event()  # urgent mail has come

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

        Cancelled: the mail goes back untouched before Cancelled is raised again.
        Raises: StaleLease when the agent belongs to another kernel; ServerUnreachable before the round has begun.
        """
        self.round_id = round_id = new_id()
        self._interrupt_reason, self._lost_reason, self._session_suspect = None, None, False
        self.urgent = trio.Event()
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
            settled, states = await self._store(outcome, work, within_s=_SETTLE_FOR_S)
            if self._session_suspect or isinstance(outcome, Lost):
                await self._close_session()
            for task_id, state in zip(work.task_ids, states, strict=True):
                if state == "verifying":
                    await self.run_gates(task_id)
            return settled
        finally:
            self.round_id = self._storing = self._gating = None

    async def _begin(self, batch: Batch, round_id: str) -> _Work | None:
        """The work of the round, begun on the server; None when nothing in the batch is to be worked on."""
        deliveries = tuple(delivery for delivery in batch.deliveries if delivery.message is not None)
        if bad := [delivery for delivery in batch.deliveries if delivery.message is None]:
            call = self._town.operations.dead_letter(self.agent.id, bad, reason="its body cannot be decoded")
            await self._town.run(call)
        begun: list[tuple[Task, Task]] = []
        kept = [delivery for delivery in deliveries if await self._takes(delivery, round_id, begun)]
        if not kept:
            return None
        tasks = [msgspec.structs.replace(task, reason=before.reason) for before, task in begun]
        context = await self._context.work_context(self.agent, only_task(tasks), round_id)
        return _Work(round_id, tasks, kept, context, Reporter(self._context, context))

    async def _takes(self, delivery: Delivery, round_id: str, begun: list[tuple[Task, Task]]) -> bool:
        """Whether a message is part of the round. Begins the task of an order, and adds it to those that are `begun`, as it was
        and as it is. An outdated order is acknowledged, one that has to wait returned."""
        body = delivery.message.body if delivery.message else None
        if not isinstance(body, TaskAssign):
            return True
        operations = self._town.operations
        settle: Operation[Any] = operations.ack(self.agent.id, [delivery])
        with suppress(NotFound):
            task = await self._town.task(body.task_id)
            before = msgspec.structs.replace(task, attempts=max(task.attempts, delivery.deliveries - 1))
            waits = bool(begun) and (await self._is_single(begun[0][0]) or await self._is_single(before))
            waits = waits or (before.lost >= _LOST_TOGETHER and not self._context.limits.run_alone())
            start = operations.start_task(self.agent.id, self._fence, before.id, round_id)
            started = Started(stale=False, task=before, held=True) if waits else await self._town.run(start)
            if started.held:  # the rest of the mail does not wait for it
                why, delay_ms = (started.task and started.task.reason) or "it waits", 0 if waits else _HELD_TASK_MS
                settle = operations.nack(self.agent.id, [delivery], delay_ms=delay_ms, counts=False, reason=why)
            elif started.task is not None and not started.stale:
                begun.append((before, started.task))
                return True
        await self._town.run(settle)
        return False

    async def _is_single(self, task: Task) -> bool:
        """Whether a task shares no round: it may end its kernel or fail others for good, or has a workspace or such a table."""
        config, tables = self._town.config, self._backend.single_tables if self._backend else ()
        most = min(config.round.max_attempts, config.limits.max_deliveries)
        with suppress(PluginFaulty):
            alone = any(name in task.meta for name in tables) or await claiming(self._context, self.agent, task)
            return bool(alone) or task.lost >= _LOST_TOGETHER or task.attempts + 1 >= most
        return True

    async def _outcome(self, work: _Work) -> Outcome:
        """The outcome, by itself or interrupted."""
        outcome: Outcome | None = None
        try:
            start_round = self._town.operations.start_round
            with plugin_code(), trio.CancelScope() as self._scope:
                call = start_round(self.agent.id, self._fence, work.round_id, *work.task_ids[:1])
                if await self._town.run(call) in ("paused", "stopped"):
                    # Requested after the claim: nothing has begun yet, so nothing is lost.
                    self.interrupt("requested by user")
                if self._interrupt_reason is not None:
                    self._scope.cancel()
                outcome = await self._run_beside_leases(work)
        except (ServerUnreachable, HostFailure) as error:  # without a pause, the next round would fail in the same way
            self._context.limits.fail(str(error))
            self._interrupt_reason = self._interrupt_reason or str(error)
        else:
            self._context.limits.succeed()
        finally:
            self._scope = None
        if self._lost_reason is not None and not isinstance(outcome, Finished):
            outcome = Lost(reason=self._lost_reason)
        if isinstance(outcome, Failed | Lost):  # a signal for the whole group may reach the command before the kernel
            with trio.move_on_after(_MOMENT_S):
                await self._context.closing.wait()
            if trio.current_time() - self._context.closing_at < self._town.config.round.grace_s + _MOMENT_S:
                self._interrupt_reason = self._interrupt_reason or "its kernel was stopped"
        if outcome is None or (self._interrupt_reason is not None and not isinstance(outcome, Finished)):
            return Interrupted(reason=self._interrupt_reason or "interrupted")
        return outcome

    async def _run_beside_leases(self, work: _Work) -> Outcome | None:
        """Do the work while its leases are renewed and its progress is reported. What a plugin raises costs this round only."""
        outcome: Outcome | None = None
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._renew, work)
            nursery.start_soon(work.reporter.forward)
            try:
                with plugin_code():
                    outcome = await self._work(work)
            except Exception as error:  # leaves the nursery as it is, not in a group
                failure = error
            with trio.move_on_after(_LAST_REPORTS_S):
                await work.reporter.forward_activities()
            nursery.cancel_scope.cancel()
        if failure is not None:
            self._session_suspect = True
            if lacking := host_failure(failure):
                raise lacking
            if isinstance(failure, ServerUnreachable):
                raise failure
            if not isinstance(failure, TinytownError):
                await self._report_fault(failure)
            return outcome_of(failure)
        return outcome

    @property
    def _backend(self) -> AgentBackend | None:
        return self._context.plugins.backends.get(self.agent.cli)

    async def _report_fault(self, error: Exception) -> None:
        await self._context.report_fault(self._backend, f"backend {self.agent.cli}", error)

    async def _work(self, work: _Work) -> Outcome:
        limits = self._town.config.round
        bound_s = limits.timeout_s + limits.grace_s + _OVERTIME_S if limits.timeout_s else float("inf")
        messages = tuple(delivery.message for delivery in work.deliveries if delivery.message is not None)
        self._check_room()
        async with (
            open_workspace(self._context, work.context, "round") as directory,
            self._context.open_access(self.agent, work.tasks) as access,
        ):
            with self._context.processes.clock.move_on_after(bound_s):
                session = await self._get_session()
                round_ = Round(
                    round_id=work.round_id,
                    prompt=await self._prompt(work.tasks, messages),
                    task=only_task(work.tasks),
                    messages=messages,
                    directory=directory,
                    environment={**work.context.environment, **access},
                    log_path=log_path(self._town.root, self.agent.name),
                    timeout_s=limits.timeout_s or None,
                    silence_s=limits.silence_s or None,
                    grace_s=limits.grace_s,
                    session_id=self._session_id,
                    tasks=tuple(work.tasks),
                )
                work.shown = round_
                await self._context.show_round(lambda observer: observer.began(self.agent, round_))
                async with open_background() as nursery:
                    nursery.start_soon(self._deliver_urgent, work, session)
                    with self._context.call(self._backend):  # the workspace around it would have raised what it raises
                        outcome, left_out = read_outcome(await session.run_round(round_, work.reporter))
                if left_out:
                    await self._report_fault(PluginFaulty(f"reported {left_out}, which cannot be true"))
                if isinstance(outcome, Failed | Lost):
                    self._check_room()
                return outcome
        self._session_suspect = True
        return Failed(reason=f"the backend did not end within its limit of {limits.timeout_s:g} s")

    async def _deliver_urgent(self, work: _Work, session: AgentSession) -> None:
        """Show the model urgent mail as it comes. What it has seen is settled with the round, the rest goes back."""
        limits, lease_ms = self._town.config.round, int(self._town.config.lease_s * 1000)
        claim = partial(self._town.operations.claim, self.agent.id, fence=self._fence, lease_ms=lease_ms)
        while True:
            await self.urgent.wait()
            self.urgent = trio.Event()
            with suppress(TinytownError):  # after the round it is there still
                with trio.CancelScope(shield=True, relative_deadline=_BEGIN_BOUND_S):
                    batch = await self._town.run(claim(token=new_id(), count=-limits.notes))
                    work.unseen.extend(batch.deliveries)
                    work.deliveries.extend(work.unseen)
                messages = [each.message for each in work.unseen if each.message]
                if mail := [each for each in messages if not isinstance(each.body, TaskAssign)]:
                    parts = PromptParts(self.agent, None, mail, in_round=True)
                    try:
                        with plugin_code():
                            if await session.deliver(build_prompt(self._context.plugins, parts)):
                                work.unseen[:] = [each for each in work.unseen if each.message not in mail]
                    except Exception as error:
                        await self._report_fault(error)
                if work.unseen and limits.interrupt_on_urgent:
                    self.interrupt("urgent mail")
                await self._return_unseen(work)

    async def _return_unseen(self, work: _Work) -> None:
        work.deliveries[:] = [each for each in work.deliveries if each not in work.unseen]
        if back := work.unseen:
            nack = self._town.operations.nack(self.agent.id, back, counts=False, reason="the model has not seen it")
            await self._town.run(nack)
            back.clear()

    def _check_room(self) -> None:
        root, limits = self._town.root, self._town.config.limits
        workspace = self._context.workspaces.get(self.agent.id, root)
        check_room(limits.disk_reserve_bytes, state_directory(root), workspace)

    async def _prompt(self, tasks: list[Task], messages: tuple[Message, ...]) -> str:
        task, needed = only_task(tasks), list[Task]()
        for need in task.needs[:NEEDED_SHOWN] if task else ():
            with suppress(NotFound):  # removed since
                needed.append(await self._town.task(need))
        parts = PromptParts(
            self.agent,
            task,
            messages,
            needed=needed,
            colleagues=await self._context.colleagues(),
            sections=await self._context.prompt_sections(self.agent, tasks),
            tasks=tasks,
        )
        prompt = build_prompt(self._context.plugins, parts)
        await self._context.report_hook_faults()
        return prompt

    async def _renew(self, work: _Work) -> None:
        """Keep the leases of the batch; end the round when they are lost, could not be renewed for a whole lease, or its disk
        is nearly full."""
        lease_s = self._town.config.lease_s
        held_until = trio.current_time() + lease_s
        while True:
            await trio.sleep(lease_s / 3)
            try:
                self._check_room()
                with trio.move_on_after(lease_s / 3):
                    renewed = tuple(work.deliveries)
                    renew = self._town.operations.renew(self.agent.id, renewed, lease_ms=int(lease_s * 1000))
                    kept = await self._town.run(renew)
                    if not all(held for held, each in zip(kept, renewed, strict=True) if each in work.deliveries):
                        self.interrupt("the lease on its mail was lost")
                        return
                    held_until = trio.current_time() + lease_s
            except HostFailure as lacking:
                self.interrupt(str(lacking))
                return
            except TinytownError:
                pass  # below, when it lasts
            if trio.current_time() > held_until:
                self.interrupt("the server could not be reached for a whole lease")
                return

    async def _store(self, outcome: Outcome, work: _Work, *, within_s: float) -> tuple[Resolution, tuple[str, ...]]:
        """Store the outcome while the lease may be ours; shielded, as promised. The resolution, and the tasks' new states."""
        duration_s, gated, task = trio.current_time() - work.began, True, only_task(work.tasks)
        with trio.CancelScope(shield=True, relative_deadline=within_s), suppress(TinytownError):
            if self._context.plugins.gates and task and isinstance(outcome, Finished):
                gated = bool(await wanting_gates(self._context, await self._town.task(task.id)))
            await self._return_unseen(work)
        settled = resolve(
            outcome,
            self._town.config.round,
            work.tasks,
            max(delivery.deliveries for delivery in work.deliveries),
            requested=self._interrupt_reason is not None,
        )
        if settled.fate == "fail":
            with trio.CancelScope(shield=True, relative_deadline=within_s) as self._storing:
                reason = await self._context.first_answer(
                    "failure_handlers", lambda handler: handler.before_failing(work.context, outcome)
                )
                settled = replace(settled, reason=brief(str(reason))) if reason else settled
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
            task=work.task_ids[0] if work.tasks else None,
            tasks=tuple(work.task_ids),
            messages=tuple(delivery.message.id for delivery in work.deliveries if delivery.message),
            began_at=rfc3339(ended_ms - int(duration_s * 1000)),
            ended_at=rfc3339(ended_ms),
            duration_s=round(duration_s, 3),
            usage=None if usage is None else msgspec.structs.asdict(usage),
            text=settled.text[-TEXT_CHARACTERS:],
            session_id=self._session_id,
            host=machine_id().partition("/")[0],
            prompt_bytes=len(shown.prompt.encode("utf-8", "replace")) if (shown := work.shown) else 0,
        )
        if shown is not None:
            with trio.CancelScope(shield=True, relative_deadline=within_s):
                tail = work.reporter.tail
                await self._context.show_round(lambda observer: observer.ended(self.agent, shown, record, tail))
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
            task_ids=work.task_ids,
            fate=settled.fate,
            gated=gated,
            text=settled.text,
            duration_ms=int(duration_s * 1000),
            session_id=self._session_id or "",
            record=msgspec.json.encode(record),
            throttled_ms=settled.throttled_ms,
            jitter=random.random(),
            charge=charge,
        )
        states = ("",) * len(work.tasks)
        with trio.CancelScope(shield=True, relative_deadline=within_s) as self._storing:
            while True:
                try:
                    states = await self._town.run(call)
                except ServerUnreachable:
                    await trio.sleep(_AGAIN_S)
                except StaleLease:  # the outcome no longer counts, but its cost does
                    operations, ids = self._town.operations, work.task_ids
                    with suppress(TinytownError):
                        await self._town.run(
                            operations.charge_round(self.agent.id, work.round_id, charge, task_ids=ids)
                        )
                    raise
                else:
                    break
        return settled, states
