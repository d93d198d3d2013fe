"""The life of one agent on this kernel: from placement to release, one round after the other.

Follows what people want of the agent, waits for its bell, never polls. The rounds themselves are `rounds`; which
agents come here and when all of this ends is the kernel's.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import trio

from tinytown.agents import Agent
from tinytown.config import RUNTIME_DIRECTORY
from tinytown.contracts import AgentContext, AgentSession
from tinytown.errors import BackendUnavailable, NotFound, Refused, ServerUnreachable, StaleLease
from tinytown.names import new_id, shown
from tinytown.protocol.calls import Batch
from tinytown.rounds import Desk, RoundRunner, judge

_FIRST_RETRY_S = 1.0
_LONGEST_RETRY_S = 300.0


class HostedAgent:
    """An agent whose lease this kernel holds. `live` runs in one task; the other methods are called from the bell."""

    def __init__(self, desk: Desk, agent: Agent) -> None:
        self._desk = desk
        self._town = desk.town
        self.agent = agent
        self.wanted: str = agent.wanted
        self._fence = agent.token or ""
        self._bell = trio.Event()
        self._runner = RoundRunner(desk, agent, self._open_session)
        self._rounds = agent.rounds_completed
        self._leaving: str | None = None

    @property
    def working(self) -> bool:
        """Whether a round is in progress."""
        return self._runner.run_id is not None

    # -- heard from outside

    def ring(self, what: str) -> None:
        """Something was published on the agent's channel: mail, urgent, ``control now|soon``, ``stop-round <run>``."""
        word, _, rest = what.partition(" ")
        if word == "stop-round" and rest == self._runner.run_id:
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

    # -- its life

    async def live(self) -> None:
        """Host the agent until it stops, is released or lost. Returns normally in all these cases."""
        try:
            async with AsyncExitStack() as stack:
                await self._judge_leftovers()
                state, reason = await self._work(stack)
            await self._release(state, reason)
        except StaleLease:
            return  # it belongs to another kernel now; everything here has been ended
        except NotFound:
            return  # it was removed from the town
        except ServerUnreachable:
            return  # the lease runs out by itself, and the next kernel takes over
        except Exception as error:  # an agent that crashes must not take the others along
            await self._give_up(error)

    async def _work(self, stack: AsyncExitStack) -> tuple[str, str]:
        """Rounds until there is a reason to end: the state to leave the agent in, and why."""
        while True:
            self._bell = trio.Event()  # before looking, so that no ring is missed
            if self._leaving is not None:
                return "cold", self._leaving
            if self.wanted == "stopped":
                return "stopped", "a person asked for it"
            if self.wanted == "paused":
                await self._observe("paused", "a person asked for it")
                if self.wanted == "paused" and self._leaving is None:
                    await self._bell.wait()
                    await self._refresh()
                continue
            parked_s = self._desk.parked.get(self.agent.cli, 0.0) - trio.current_time()
            if parked_s > 0:
                await self._observe("idle", f"its account is throttled for {parked_s:.0f} s")
                await self._wait(parked_s)
                continue
            batch = await self._claim()
            if batch.deliveries:
                stop_reason = await self._runner.run(batch, stack)
                if stop_reason is not None:
                    return "error", stop_reason
                self._rounds += 1
                await self._refresh()
                if 0 < self.agent.max_rounds <= self._rounds:
                    await self._town.run(self._town.calls.want(self.agent.id, "stopped", reason="its rounds are done"))
                    return "stopped", f"its {self.agent.max_rounds} rounds are done"
                continue
            if self.wanted == "drained":
                await self._town.run(self._town.calls.want(self.agent.id, "stopped", reason="drained"))
                return "stopped", "it has finished what it was given"
            if self._town.config.auto_claim and await self._claim_from_backlog():
                continue
            await self._observe("idle", "")
            if self.wanted != "running":
                continue
            wait_s = (batch.next_due_ms - batch.now_ms) / 1000 if batch.next_due_ms is not None else float("inf")
            await self._wait(max(0.001, wait_s))

    async def _wait(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self._bell.wait()
            await self._refresh()

    async def _claim(self) -> Batch:
        return await self._town.run(
            self._town.calls.claim(
                self.agent.id,
                fence=self._fence,
                token=new_id(),
                count=self._town.config.round.notes,
                lease_ms=int(self._town.config.lease_s * 1000),
            )
        )

    async def _claim_from_backlog(self) -> bool:
        words = [word for word in (self.agent.role or "", *self.agent.tags) if word]
        if not words:
            return False
        claimed = await self._town.run(self._town.calls.claim_matching(self.agent.id, self._fence, words))
        return claimed is not None

    async def _observe(self, state: str, reason: str) -> None:
        self.wanted = await self._town.run(self._town.calls.observe_agent(self.agent.id, self._fence, state, reason))

    async def _refresh(self) -> None:
        agent = await self._town.run(self._town.calls.agent(self.agent.id))
        if agent.token != self._fence:
            raise StaleLease(f"agent {agent.name!r} belongs to another kernel")
        self.wanted = agent.wanted

    async def _judge_leftovers(self) -> None:
        """Submitted tasks whose kernel went away before the gates had spoken."""
        if self._desk.plugins.gates:
            for task in await self._town.tasks(state="verifying", agent=self.agent.id):
                await judge(self._desk, task.id, self._town.root)

    async def _open_session(self, stack: AsyncExitStack) -> AgentSession:
        backend = self._desk.plugins.backends.get(self.agent.cli)
        if backend is None:
            raise BackendUnavailable(
                f"no backend of the kind {self.agent.cli!r} is installed", hint=f"pip install tinytown-{self.agent.cli}"
            )
        state_directory = agent_directory(self._town.root, self.agent.name)
        context = AgentContext(
            agent=self.agent,
            config=self._town.config,
            root=self._town.root,
            state_directory=state_directory,
            keeper=self._desk.keeper,
        )
        return await stack.enter_async_context(backend.open(context))

    async def _release(self, state: str, reason: str) -> None:
        """Give the agent's lease back. One that is to be placed again gets its place in the queue for hosts."""
        again = state == "cold"
        call = self._town.calls.release_agent(
            self.agent.id, self._fence, state, reason=reason, retry_ms=0 if again else -1
        )
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
            try:
                await self._town.run(call)
            except (ServerUnreachable, Refused):
                return

    async def _give_up(self, error: Exception) -> None:
        """The agent crashed: it may come back after a delay that grows with each crash."""
        reason = f"crashed: {shown(repr(error), 500)}"
        retry_s = min(_FIRST_RETRY_S * 2**self.agent.failures, _LONGEST_RETRY_S)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
            try:
                await self._town.run(
                    self._town.calls.release_agent(
                        self.agent.id,
                        self._fence,
                        "error",
                        reason=f"{reason}; tried again in {retry_s:.0f} s",
                        retry_ms=int(retry_s * 1000),
                        failed=True,
                    )
                )
            except (ServerUnreachable, Refused):
                return


def agent_directory(root: Path, agent: str) -> Path:
    """The directory of an agent's own, made if missing (mode 0700)."""
    directory = root / RUNTIME_DIRECTORY / "agents" / agent
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory
