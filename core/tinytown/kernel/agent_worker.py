"""Works for one agent on this kernel: from placement to release, one round after the other.

Follows the agent's desired state, waits for notifications, never polls. The rounds themselves are `round_runner`;
which agents are hosted here, and until when, is up to `placement`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import trio

from tinytown.concurrency import open_background, plugin_code
from tinytown.contracts import AgentBackend, AgentSession
from tinytown.errors import BackendUnavailable, NotFound, ProtocolViolation, Refused, ServerUnreachable, StaleLease
from tinytown.kernel.boxes import agent_context
from tinytown.kernel.context import KernelContext
from tinytown.kernel.outcome_policy import Resolution, described
from tinytown.kernel.round_runner import RoundRunner
from tinytown.model.agents import ASLEEP, Agent
from tinytown.model.ids import new_id
from tinytown.model.results import Batch
from tinytown.model.text import shown
from tinytown.protocol.operation import Operation

_log = logging.getLogger("tinytown.kernel")

_FIRST_RETRY_S = 1.0
_LONGEST_RETRY_S = 300.0
_RELEASE_BOUND_S = 5.0
_CLAIM_BOUND_S = 5.0
_ASLEEP = f"{ASLEEP}: no work"
_CLOSE_BOUND_S = 10.0  # what a session may take to close, beyond the grace of a round


class _Ending(NamedTuple):
    """The state to release an agent in. One that is `suspended` is placed again after `retry_ms`, or, if negative, sleeps."""

    state: str
    reason: str
    retry_ms: int = -1


class AgentWorker:
    """An agent whose lease this kernel holds. `run` runs in one task; the other methods may be called from any."""

    def __init__(self, context: KernelContext, agent: Agent) -> None:
        self._context = context
        self._town = context.town
        self.agent = agent
        self.desired_state: str = agent.desired_state
        self._fence = agent.token or ""
        self._notified = trio.Event()
        self._session = SessionManager(context, agent, self._lose_session)
        self._runner = RoundRunner(context, agent, self._session.get, self._session.close)
        self._leaving: str | None = None
        self._idle_since: float | None = None
        self._claiming: Operation[Batch] | None = None  # a claim that may have been carried out, without a round yet

    @property
    def working(self) -> bool:
        """Whether a round is in progress."""
        return self._runner.round_id is not None

    @property
    def work_tags(self) -> frozenset[str]:
        """Its role and tags: it takes tasks of the backlog that have one of them; with none (empty), those that have none."""
        return frozenset(word for word in (self.agent.role or "", *self.agent.tags) if word) or frozenset([""])

    def wake(self) -> None:
        """Check whether a round may begin, unless one is in progress: the account or a budget has changed."""
        if not self.working:
            self._notified.set()

    def notify(self, text: str) -> None:
        """Act on what is published on the agent's channel: mail, urgent, ``control now|soon``, ``stop-round ROUND``."""
        word, _, rest = text.partition(" ")
        if word == "stop-round" and rest == self._runner.round_id:
            self._runner.interrupt("the task was taken away")
        elif word == "urgent":
            self._runner.urgent.set()
        elif word == "control" and rest == "now":
            self._runner.interrupt("requested by user")
        self._notified.set()

    def leave(self, why: str) -> None:
        """Release the agent after the round in progress."""
        self._leaving = why
        self._notified.set()

    def hurry(self, why: str) -> None:
        """End the round in progress; its mail goes back untouched."""
        self._runner.interrupt(why)
        self._runner.hurry()

    async def run(self) -> None:
        """Host the agent until it stops, is released or lost. Returns normally in all these cases."""
        try:
            async with open_background() as nursery:
                self._session.nursery = nursery
                ending = await self._work_through_outages()
                await self._session.close()
            await self._release(ending)
        except (StaleLease, NotFound):
            return  # another kernel has it, and everything here has ended; or it was removed from the town
        except Exception as error:  # a crash of one agent must not end the others
            await self._give_up(error)
        finally:
            self._context.limits.forget(self.agent.id)

    async def _work_through_outages(self) -> _Ending:
        """`_work`, resumed after each outage of the server: the lease may still be ours."""
        cut_off = False
        while True:
            try:
                if cut_off:
                    await self._refresh()
                await self._resume_gates()
                return await self._work()
            except ServerUnreachable as error:
                if self._leaving is not None:
                    return _Ending("suspended", self._leaving, retry_ms=0)
                cut_off = True
                _log.info("agent %s waits for the server: %s", self.agent.name, error.message)
                self._notified = trio.Event()
                with trio.move_on_after(self._town.config.lease_s / 3):
                    await self._notified.wait()  # reconnecting notifies

    async def _work(self) -> _Ending:
        """Rounds until there is a reason to end: the state to leave the agent in, and why."""
        while True:
            self._notified = trio.Event()  # before the checks, so that no notification is missed
            self._context.held.discard(self.agent.id)
            if self._leaving is not None:
                return _Ending("suspended", self._leaving, retry_ms=0)
            if self.desired_state == "stopped":
                return _Ending("stopped", "requested by user")
            if 0 < self.agent.max_rounds <= self.agent.rounds_completed:
                stop = self._town.operations.set_desired_state(self.agent.id, "stopped", reason="max_rounds reached")
                await self._town.run(stop)
                return _Ending("stopped", f"max_rounds reached ({self.agent.max_rounds}); tt restart continues")
            if self.desired_state == "paused":
                self._idle_since = None
                self._context.limits.forget(self.agent.id)
                await self._report_state("paused", "requested by user")
                if self.desired_state == "paused" and self._leaving is None:
                    await self._notified.wait()
                    await self._refresh()
                continue
            batch, settled = await self._run_round()
            if batch.deliveries:
                self._idle_since = None
                if settled is None:
                    continue
                if settled.stop_reason is not None:
                    return _Ending("error", settled.stop_reason)
                await self._refresh()
                continue
            due_s = float("inf") if batch.next_due_ms is None else (batch.next_due_ms - batch.now_ms) / 1000
            if batch.held is not None:
                if batch.next_due_ms is None:
                    self._context.held.add(self.agent.id)
            elif self.desired_state == "drained":
                if due_s == float("inf"):
                    if not await self._town.tasks(state="verifying", agent=self.agent.id, limit=1):
                        return _Ending("stopped", "all its work is done")
                    due_s = self._town.config.lease_s  # a verdict may send it back, or nothing may come of it
            elif self._town.config.auto_claim and await self._claim_from_backlog():
                continue
            desired, drained = self.desired_state, self.desired_state == "drained"
            later = "some of its work is due later" if drained else ""
            await self._report_state("draining" if drained else "idle", batch.held or later)
            if self.desired_state != desired:
                continue
            if desired == "running" and not batch.waiting:
                now = trio.current_time()
                self._idle_since = self._idle_since or now
                asleep_in_s = self._idle_since + self._town.config.idle_timeout_s(self.agent.cli) - now
                if asleep_in_s <= 0:
                    return _Ending("suspended", _ASLEEP)
                due_s = min(due_s, asleep_in_s)
            with trio.move_on_after(max(0.001, due_s)):
                await self._notified.wait()
                await self._refresh()

    async def _run_round(self) -> tuple[Batch, Resolution | None]:
        """Claim mail and do a round with it, if this machine has a place for one."""
        why, wait_s = self._context.limits.enter(self.agent.id, self.wake)
        if why:
            held = why if self.agent.mail.total else ""
            return Batch(now_ms=0, next_due_ms=int(wait_s * 1000) + 1, held=held, waiting=True, deliveries=()), None
        try:
            batch = await self._claim()
            settled = await self._runner.run(batch) if batch.deliveries else None
            self._claiming = None
        finally:
            self._context.limits.leave()
        return batch, settled

    async def _claim(self) -> Batch:
        """The next mail. Shielded: mail of a cancelled claim would be leased without a round, and count as delivered.

        When the server fails during a claim, or before its round has begun, the same claim is repeated. A new one would
        leave the mail of the first one undelivered until its lease ends, and later mail would overtake it.
        """
        call = self._claiming = self._claiming or self._town.operations.claim(
            self.agent.id,
            fence=self._fence,
            token=new_id(),
            count=max(self._town.config.round.notes, self._tasks_at_once),
            orders=self._tasks_at_once,
            lease_ms=int(self._town.config.lease_s * 1000),
        )
        await trio.lowlevel.checkpoint_if_cancelled()
        with trio.CancelScope(shield=True, relative_deadline=_CLAIM_BOUND_S):
            return await self._town.run(call)
        raise ServerUnreachable(f"the server did not answer for {_CLAIM_BOUND_S:g} s")

    @property
    def _tasks_at_once(self) -> int:
        """How many tasks its next round may have."""
        backend = self._context.plugins.backends.get(self.agent.cli)
        can_report = backend is not None and backend.offers_town_tools is not None  # on each of several
        return self._town.config.tasks_per_round(self.agent.role, self.agent.cli) if can_report else 1

    async def _claim_from_backlog(self) -> bool:
        for taken in range(self._tasks_at_once):
            if await self._town.run(self._town.operations.claim_matching(self.agent.id, self._fence)) is None:
                return taken > 0
        return True

    async def _report_state(self, state: str, reason: str) -> None:
        report = self._town.operations.report_agent_state(self.agent.id, self._fence, state, reason)
        self.desired_state = await self._town.run(report)

    async def _refresh(self) -> None:
        agent = await self._town.run(self._town.operations.agent(self.agent.id))
        if agent.token != self._fence:
            raise StaleLease(f"agent {agent.name!r} belongs to another kernel")
        self.agent, self.desired_state = agent, agent.desired_state

    async def _resume_gates(self) -> None:
        """Run the gates on submitted tasks whose kernel ended before a verdict."""
        for task in await self._town.tasks(state="verifying", agent=self.agent.id):
            if self._leaving is None:
                await self._runner.run_gates(task.id)

    def _lose_session(self, error: Exception) -> None:
        self._runner.lose_session(f"the session of the backend ended: {described(error)}")

    async def _release(self, ending: _Ending, *, failed: bool = False) -> None:
        """Release the agent's lease, retried until it works: while this kernel runs, no other one releases it."""
        state, reason, retry_ms = ending
        call = self._town.operations.release_agent(
            self.agent.id, self._fence, state, reason=reason, retry_ms=retry_ms, failed=failed
        )
        while True:
            with (
                trio.CancelScope(shield=True, relative_deadline=_RELEASE_BOUND_S),
                suppress(ServerUnreachable, ProtocolViolation),  # a damaged record may be repaired
            ):
                with suppress(Refused, NotFound):  # another kernel has it, or it was removed
                    await self._town.run(call)
                return
            if self._leaving is not None:
                return  # the kernel deregisters, or its lease runs out, and all its agents are released
            await trio.sleep(self._town.config.lease_s / 3)

    async def _give_up(self, error: Exception) -> None:
        """Release an agent that crashed, to be placed again after a delay that grows with each crash."""
        _log.error("agent %s crashed", self.agent.name, exc_info=error)
        retry_s = min(_FIRST_RETRY_S * 2 ** min(self.agent.failures, 16), _LONGEST_RETRY_S)
        reason = f"crashed: {shown(repr(error), 500)}; restarted in {retry_s:.0f} s"
        await self._release(_Ending("error", reason, retry_ms=int(retry_s * 1000)), failed=True)


class SessionManager:
    """Opens an agent's session when it is first needed and keeps it open from round to round.

    In a task of its own, in a `nursery` that outlasts the rounds: nurseries and time limits inside the session must not
    be nested in the scopes of the round that opens it. `on_lost` is called when an open session ends by itself.
    """

    def __init__(self, context: KernelContext, agent: Agent, on_lost: Callable[[Exception], None]) -> None:
        self._context = context
        self._agent = agent
        self._on_lost = on_lost
        self._session: AgentSession | None = None
        self._over = trio.Event()
        self._gone = trio.Event()
        self.nursery: trio.Nursery | None = None  # set before use, by the worker

    async def get(self) -> AgentSession:
        """The session. Raises: BackendUnavailable, or whatever the backend raises on opening."""
        if self._session is None:
            backend = self._context.plugins.backends.get(self._agent.cli)
            if backend is None:
                raise BackendUnavailable(
                    f"no backend of the kind {self._agent.cli!r} is installed",
                    hint="install its plugin and restart the kernel",
                )
            assert self.nursery is not None
            over, gone = self._over, self._gone = trio.Event(), trio.Event()
            session: AgentSession = await self.nursery.start(self._keep_open, backend, over, gone)
            if gone.is_set():
                raise BackendUnavailable("the session of the backend ended immediately")
            self._session = session
        return self._session

    async def close(self) -> None:
        """Close the session, if there is one; the next `get` opens another."""
        if self._session is not None:
            self._over.set()
            await self._gone.wait()

    async def _keep_open(
        self, backend: AgentBackend, over: trio.Event, gone: trio.Event, *, task_status: trio.TaskStatus[AgentSession]
    ) -> None:
        with plugin_code():
            context = await agent_context(self._context, backend, self._agent)
        opened, failure = False, None
        try:
            with self._context.call(backend), trio.CancelScope() as closing:
                async with backend.open(context) as session:
                    opened = True
                    task_status.started(session)
                    await over.wait()
                    closing.deadline = trio.current_time() + self._context.town.config.round.grace_s + _CLOSE_BOUND_S
        except Exception as error:  # a session may raise anything
            if not opened:
                raise
            failure = error
            await self._context.report_fault(backend, f"backend {self._agent.cli}", error)
        finally:
            if opened:
                self._session = None
            gone.set()
        if not over.is_set():
            self._on_lost(failure or RuntimeError("it closed by itself"))
