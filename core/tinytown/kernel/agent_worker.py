"""The life of one agent on this kernel: from placement to release, one round after the other.

Follows what people want of the agent, waits for its bell, never polls. The rounds themselves are `rounds`; which
agents come here and when all of this ends is the kernel's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import trio

from tinytown.concurrency import open_background, without_cancellations
from tinytown.config import RUNTIME_DIRECTORY
from tinytown.contracts import AgentBackend, AgentContext, AgentSession
from tinytown.errors import BackendUnavailable, NotFound, ProtocolViolation, Refused, ServerUnreachable, StaleLease
from tinytown.kernel.context import KernelContext
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
_ASLEEP = f"{ASLEEP}: there is nothing to do"
_CLOSE_BOUND_S = 10.0  # what a session may take to close, beyond the grace of a round


class _Ending(NamedTuple):
    """How an agent is let go of. One that is `cold` wants another host after `retry_ms`, or, without, sleeps."""

    state: str
    reason: str
    retry_ms: int = -1


class AgentWorker:
    """An agent whose lease this kernel holds. `live` runs in one task; the other methods are called from the bell."""

    def __init__(self, desk: KernelContext, agent: Agent) -> None:
        self._desk = desk
        self._town = desk.town
        self.agent = agent
        self.desired_state: str = agent.desired_state
        self._fence = agent.token or ""
        self._bell = trio.Event()
        self._session = SessionManager(desk, agent, self._lose_session)
        self._runner = RoundRunner(desk, agent, self._session.get, self._session.close)
        self._leaving: str | None = None
        self._idle_since: float | None = None
        self._claiming: Operation[Batch] | None = (
            None  # a claim that may have been carried out, and came to nothing here
        )

    @property
    def working(self) -> bool:
        """Whether a round is in progress."""
        return self._runner.round_id is not None

    @property
    def words(self) -> frozenset[str]:
        """Its role and tags: a task of the backlog that bears one of them is for it."""
        return frozenset(word for word in (self.agent.role or "", *self.agent.tags) if word)

    # -- heard from outside

    def look(self) -> None:
        """Something has changed for its account or its budget: look whether it may begin a round, unless it is in one."""
        if not self.working:
            self._bell.set()

    def ring(self, what: str) -> None:
        """Something was published on the agent's channel: mail, urgent, ``control now|soon``, ``stop-round <run>``."""
        word, _, rest = what.partition(" ")
        if word == "stop-round" and rest == self._runner.round_id:
            self._runner.interrupt("the task was taken away")
        elif word == "urgent" and self._town.config.round.interrupt_on_urgent:
            self._runner.interrupt("urgent mail")
        elif word == "control" and rest == "now":
            self._runner.interrupt("a person asked for it")
        self._bell.set()

    def leave(self, why: str) -> None:
        """Let go of the agent after the round in progress."""
        self._leaving = why
        self._bell.set()

    def hurry(self, why: str) -> None:
        """End the round in progress; its mail goes back untouched."""
        self._runner.interrupt(why)
        self._runner.hurry()

    # -- its life

    async def live(self) -> None:
        """Host the agent until it stops, is released or lost. Returns normally in all these cases."""
        try:
            async with open_background() as nursery:
                self._session.nursery = nursery
                ending = await self._persist()
                await self._session.close()
            await self._release(ending)
        except StaleLease:
            return  # it belongs to another kernel now; everything here has been ended
        except NotFound:
            return  # it was removed from the town
        except Exception as error:  # an agent that crashes must not take the others along
            await self._give_up(error)

    async def _persist(self) -> _Ending:
        """`_work`, taken up again after each time that the server could not be reached: the lease may still be ours."""
        cut_off = False
        while True:
            try:
                if cut_off:
                    await self._refresh()
                await self._judge_leftovers()
                return await self._work()
            except ServerUnreachable as error:
                if self._leaving is not None:
                    return _Ending("suspended", self._leaving, retry_ms=0)
                cut_off = True
                _log.info("agent %s waits for the server: %s", self.agent.name, error.message)
                self._bell = trio.Event()
                with trio.move_on_after(self._town.config.lease_s / 3):
                    await self._bell.wait()  # the bell rings when the connection is back

    async def _work(self) -> _Ending:
        """Rounds until there is a reason to end: the state to leave the agent in, and why."""
        while True:
            self._bell = trio.Event()  # before looking, so that no ring is missed
            self._desk.held.discard(self.agent.id)
            if self._leaving is not None:
                return _Ending("suspended", self._leaving, retry_ms=0)
            if self.desired_state == "stopped":
                return _Ending("stopped", "a person asked for it")
            if 0 < self.agent.max_rounds <= self.agent.rounds_completed:
                await self._town.run(
                    self._town.operations.set_desired_state(self.agent.id, "stopped", reason="its rounds are done")
                )
                return _Ending("stopped", f"its rounds are done ({self.agent.max_rounds}); tt restart goes on")
            if self.desired_state == "paused":
                self._idle_since = None
                await self._observe("paused", "a person asked for it")
                if self.desired_state == "paused" and self._leaving is None:
                    await self._bell.wait()
                    await self._refresh()
                continue
            batch = await self._claim()
            if batch.deliveries:
                self._idle_since = None
                settled = await self._runner.run(batch)
                self._claiming = None
                if settled is None:
                    continue
                if settled.stop_reason is not None:
                    return _Ending("error", settled.stop_reason)
                await self._refresh()
                continue
            due_s = float("inf") if batch.next_due_ms is None else (batch.next_due_ms - batch.now_ms) / 1000
            if batch.held is not None:
                if batch.next_due_ms is None:
                    self._desk.held.add(self.agent.id)
            elif self.desired_state == "drained":
                if due_s == float("inf"):
                    return _Ending("stopped", "it has finished what it was given")
            elif self._town.config.auto_claim and await self._claim_from_backlog():
                continue
            wanted, drained = self.desired_state, self.desired_state == "drained"
            later = "some of what it was given is due later" if drained else ""
            await self._observe("draining" if drained else "idle", batch.held or later)
            if self.desired_state != wanted:
                continue
            if wanted == "running" and not batch.waiting:
                now = trio.current_time()
                self._idle_since = self._idle_since or now
                bored_s = self._idle_since + self._town.config.idle_timeout_s(self.agent.cli) - now
                if bored_s <= 0:
                    return _Ending("suspended", _ASLEEP)
                due_s = min(due_s, bored_s)
            await self._wait(max(0.001, due_s))

    async def _wait(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self._bell.wait()
            await self._refresh()

    async def _claim(self) -> Batch:
        """The next mail. Shielded: mail whose claim was cancelled would be leased to nobody, and count as delivered.

        When the server went away under a claim, or before its round had begun, the same claim is made again. A new one
        would leave what the first one got to nobody until its lease ends, and later mail would overtake it.
        """
        call = self._claiming = self._claiming or self._town.operations.claim(
            self.agent.id,
            fence=self._fence,
            token=new_id(),
            count=self._town.config.round.notes,
            lease_ms=int(self._town.config.lease_s * 1000),
        )
        await trio.lowlevel.checkpoint_if_cancelled()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLAIM_BOUND_S):
            return await self._town.run(call)
        raise ServerUnreachable(f"the server did not answer for {_CLAIM_BOUND_S:g} s")

    async def _claim_from_backlog(self) -> bool:
        if not self.words:
            return False
        claimed = await self._town.run(
            self._town.operations.claim_matching(self.agent.id, self._fence, sorted(self.words))
        )
        return claimed is not None

    async def _observe(self, state: str, reason: str) -> None:
        self.desired_state = await self._town.run(
            self._town.operations.report_agent_state(self.agent.id, self._fence, state, reason)
        )

    async def _refresh(self) -> None:
        agent = await self._town.run(self._town.operations.agent(self.agent.id))
        if agent.token != self._fence:
            raise StaleLease(f"agent {agent.name!r} belongs to another kernel")
        self.agent, self.desired_state = agent, agent.desired_state

    async def _judge_leftovers(self) -> None:
        """Submitted tasks whose kernel went away before the gates had spoken."""
        for task in await self._town.tasks(state="verifying", agent=self.agent.id):
            if self._leaving is None:
                await self._runner.judge(task.id)

    def _lose_session(self, error: Exception) -> None:
        self._runner.lose_session(f"the session of the backend ended: {shown(repr(error), 500)}")

    async def _release(self, ending: _Ending, *, failed: bool = False) -> None:
        """Give the agent's lease back.

        While this kernel goes on, nobody else would: the release is tried until it works.
        """
        call = self._town.operations.release_agent(
            self.agent.id,
            self._fence,
            ending.state,
            reason=ending.reason,
            retry_ms=ending.retry_ms,
            failed=failed,
        )
        while True:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _RELEASE_BOUND_S):
                try:
                    await self._town.run(call)
                except (Refused, NotFound):
                    return  # it is not ours any more
                except (ServerUnreachable, ProtocolViolation):  # what a foreign hand has spoilt may be mended
                    pass
                else:
                    return
            if self._leaving is not None:
                return  # the kernel leaves the town, or its lease runs out, and with it all its agents
            await trio.sleep(self._town.config.lease_s / 3)

    async def _give_up(self, error: Exception) -> None:
        """The agent crashed: it may come back after a delay that grows with each crash."""
        _log.error("agent %s crashed", self.agent.name, exc_info=error)
        retry_s = min(_FIRST_RETRY_S * 2 ** min(self.agent.failures, 16), _LONGEST_RETRY_S)
        reason = f"crashed: {shown(repr(error), 500)}; tried again in {retry_s:.0f} s"
        await self._release(_Ending("error", reason, retry_ms=int(retry_s * 1000)), failed=True)


class SessionManager:
    """Opens an agent's session when it is first needed and keeps it open from round to round.

    In a task of its own, in a `nursery` that outlasts the rounds: what a session has inside of it (nurseries, time
    limits) must not be tangled with the scopes of the round in which it happens to be opened. `on_lost` is told when an
    open session ends by itself.
    """

    def __init__(self, desk: KernelContext, agent: Agent, on_lost: Callable[[Exception], None]) -> None:
        self._desk = desk
        self._agent = agent
        self._on_lost = on_lost
        self._session: AgentSession | None = None
        self._over = trio.Event()
        self._gone = trio.Event()
        self.nursery: trio.Nursery | None = None  # set before use, by the one who lives as long as the agent

    async def get(self) -> AgentSession:
        """The session. Raises: BackendUnavailable, or whatever the backend raises on opening."""
        if self._session is None:
            backend = self._desk.plugins.backends.get(self._agent.cli)
            if backend is None:
                raise BackendUnavailable(
                    f"no backend of the kind {self._agent.cli!r} is installed",
                    hint=f"pip install tinytown-{self._agent.cli}",
                )
            assert self.nursery is not None
            over, gone = self._over, self._gone = trio.Event(), trio.Event()
            session: AgentSession = await self.nursery.start(self._hold, backend, over, gone)
            if gone.is_set():
                raise BackendUnavailable("the session of the backend ended at once")
            self._session = session
        return self._session

    async def close(self) -> None:
        """Close the session, if there is one; the next `get` opens another."""
        if self._session is not None:
            self._over.set()
            await self._gone.wait()

    async def _hold(
        self,
        backend: AgentBackend,
        over: trio.Event,
        gone: trio.Event,
        *,
        task_status: trio.TaskStatus[AgentSession],
    ) -> None:
        context = AgentContext(
            agent=self._agent,
            config=self._desk.town.config,
            root=self._desk.town.root,
            state_directory=agent_directory(self._desk.town.root, self._agent.name),
            processes=self._desk.keeper,
        )
        opened, failure = False, None
        try:
            with without_cancellations(), trio.CancelScope() as closing:
                async with backend.open(context) as session:
                    opened = True
                    task_status.started(session)
                    await over.wait()
                    closing.deadline = trio.current_time() + self._desk.town.config.round.grace_s + _CLOSE_BOUND_S
        except Exception as error:  # a stranger's session may end in any way
            if not opened:
                raise
            failure = error
            await self._desk.report_fault(backend, f"backend {self._agent.cli}", error)
        finally:
            if opened:
                self._session = None
            gone.set()
        if not over.is_set():
            self._on_lost(failure or RuntimeError("it closed by itself"))


def agent_directory(root: Path, agent: str) -> Path:
    """The directory of an agent's own, made if missing (mode 0700)."""
    directory = root / RUNTIME_DIRECTORY / "agents" / agent
    for each in (directory.parent, directory):  # `parents` would give the one above another mode
        each.mkdir(mode=0o700, exist_ok=True)
    return directory
