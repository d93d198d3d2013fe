"""One round: what an agent does with one batch of its mail, from the claim to the stored outcome.

Begins tasks, builds the prompt, runs the backend's session within its limits while renewing the leases, and settles
everything in one step by the outcome. Knows nothing of an agent's life between rounds (see `hosting`).
"""

from __future__ import annotations

import os
import sysconfig
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, assert_never

import msgspec
import trio

from tinytown.agents import Agent
from tinytown.config import RUNTIME_DIRECTORY, TOWN_VARIABLE
from tinytown.contracts import (
    AgentSession,
    Failed,
    Finished,
    Interrupted,
    Lost,
    Outcome,
    RateLimited,
    Round,
    Unauthorized,
    Unavailable,
    Usage,
)
from tinytown.errors import BackendUnavailable, ServerUnreachable, StaleLease, TinytownError
from tinytown.messages import Message, TaskAssign
from tinytown.names import new_id, shown
from tinytown.plugin_registry import Plugins
from tinytown.processes import Keeper
from tinytown.prompts import build_prompt
from tinytown.protocol.calls import Batch, Delivery
from tinytown.records import rfc3339
from tinytown.tasks import Task
from tinytown.town import Town

_TEXT_KEPT = 64 * 1024
_REPORT_EVERY_S = 0.5
_LONGEST_DELAY_S = 300.0
_THROTTLED_S = 30.0
_SETTLE_FOR_S = 60.0
_OVERTIME_S = 10.0  # what a session may take beyond its limits before the kernel cuts it off

Fate = Literal["complete", "fail", "again"]
Mail = Literal["ack", "nack", "return"]


@dataclass(frozen=True, slots=True)
class Desk:
    """What every round of a kernel needs."""

    town: Town
    plugins: Plugins
    keeper: Keeper
    #: Backend kinds whose account is throttled -> trio time from which they may be used again.
    parked: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Settlement:
    """What an outcome means for the round's mail and task. `stop_reason` sends the agent into ``error``."""

    mail: Mail
    fate: Fate = "again"
    delay_s: float = 0.0
    reason: str = ""
    text: str = ""
    stop_reason: str | None = None


def settlement(outcome: Outcome, desk: Desk, task: Task | None, deliveries: int) -> Settlement:
    """What follows from an outcome; `deliveries` is the highest delivery count in the batch. Pure."""
    limits = desk.town.config.round
    tries = task.attempts if task is not None else deliveries
    delay_s = min(limits.retry_delay_s * 2 ** max(0, tries - 1), _LONGEST_DELAY_S)
    match outcome:
        case Finished(text=text):
            if task is None or limits.completion == "auto":
                return Settlement("ack", "complete", text=text[-_TEXT_KEPT:])
            if task.attempts > limits.reminders:
                return Settlement(
                    "ack", "fail", reason="ended without saying whether the task is done", text=text[-_TEXT_KEPT:]
                )
            return Settlement(
                "nack", reason="you ended without saying whether the task is done: use tt task complete or fail"
            )
        case Failed(reason=reason, retryable=retryable):
            if task is not None and (not retryable or task.attempts >= limits.max_attempts):
                return Settlement("ack", "fail", reason=shown(reason, 2000), text=reason[-_TEXT_KEPT:])
            return Settlement("nack", delay_s=delay_s, reason=shown(reason, 2000))
        case Lost(reason=reason, stderr_tail=tail):
            told = f"{reason}: {tail.strip()[-500:]}" if tail.strip() else reason
            if task is not None and task.attempts >= limits.max_attempts:
                return Settlement("ack", "fail", reason=shown(told, 2000), text=told)
            return Settlement("nack", delay_s=delay_s, reason=shown(told, 2000))
        case RateLimited(reason=reason, retry_after_s=after_s):
            wait_s = _THROTTLED_S if after_s is None else max(0.0, after_s)
            return Settlement("return", delay_s=wait_s, reason=f"{reason}; again in {wait_s:.0f} s")
        case Unauthorized(reason=reason, hint=hint) | Unavailable(reason=reason, hint=hint):
            return Settlement("return", reason=reason, stop_reason=f"{reason}; {hint}" if hint else reason)
        case Interrupted(reason=reason):
            return Settlement("return", reason=reason)
        case _:
            assert_never(outcome)


class Reporter:
    """The `Report` of one round: keeps the latest line and the usage; the round sends lines on at a bounded rate."""

    def __init__(self) -> None:
        self.latest: str | None = None
        self.used: Usage | None = None

    def line(self, text: str) -> None:
        if text.strip():
            self.latest = shown(text, 200)

    def usage(self, usage: Usage) -> None:
        self.used = usage


class RoundRunner:
    """Runs the rounds of one agent while this kernel holds its lease. Used by one task; `interrupt` may come from others."""

    def __init__(self, desk: Desk, agent: Agent, open_session: Callable[[AsyncExitStack], Any]) -> None:
        self._desk = desk
        self._town = desk.town
        self.agent = agent
        self._fence = agent.token or ""
        self._open_session = open_session
        self._session: AgentSession | None = None
        self._session_id = agent.session_id
        self._scope: trio.CancelScope | None = None
        self._why: str | None = None
        self.run_id: str | None = None

    def interrupt(self, why: str) -> None:
        """End the round in progress, if there is one, as interrupted."""
        if self._scope is not None:
            self._why = self._why or why
            self._scope.cancel()

    async def run(self, batch: Batch, stack: AsyncExitStack) -> str | None:
        """Do one round with the batch; the reason for which the agent has to stop, or None.

        The session is opened on `stack` at the first round. Raises: StaleLease when the agent belongs to another kernel.
        """
        deliveries = await self._bury_undecodable(batch.deliveries)
        run_id = new_id()
        task, deliveries = await self._start_task(deliveries, run_id)
        if not deliveries:
            return None
        calls = self._town.calls
        self.run_id, self._why = run_id, None
        reporter, began, outcome = Reporter(), time.time(), None
        clock = trio.current_time()
        try:
            with trio.CancelScope() as self._scope:
                wanted = await self._town.run(
                    calls.start_round(self.agent.id, self._fence, run_id, task.id if task else "")
                )
                if wanted in ("paused", "stopped"):  # said after the claim: nothing has begun yet, so nothing is lost
                    self.interrupt("a person asked for it")
                outcome = await self._attended(deliveries, task, run_id, reporter, stack)
        except StaleLease:
            raise
        except Exception as error:  # whatever a plugin raises is its own fault and costs this round only
            outcome = _as_outcome(error)
            if not isinstance(error, TinytownError):
                await self._tell_fault(error)
        finally:
            self._scope = None
            self.run_id = None
        if outcome is None or (self._why is not None and not isinstance(outcome, Finished)):
            outcome = Interrupted(reason=self._why or "interrupted")
        return await self._settle(outcome, deliveries, task, run_id, reporter, began, trio.current_time() - clock)

    async def _bury_undecodable(self, deliveries: tuple[Delivery, ...]) -> tuple[Delivery, ...]:
        bad = [delivery for delivery in deliveries if delivery.message is None]
        if bad:
            await self._town.run(self._town.calls.bury(self.agent.id, bad, reason="its body cannot be decoded"))
        return tuple(delivery for delivery in deliveries if delivery.message is not None)

    async def _start_task(
        self, deliveries: tuple[Delivery, ...], run_id: str
    ) -> tuple[Task | None, tuple[Delivery, ...]]:
        """Begin the task that the batch carries, if any; orders that are out of date are acknowledged and left out."""
        for delivery in deliveries:
            body = delivery.message.body if delivery.message else None
            if not isinstance(body, TaskAssign):
                continue
            started = await self._town.run(
                self._town.calls.start_task(self.agent.id, self._fence, body.task_id, run_id)
            )
            if not started.stale:
                return started.task, deliveries
            await self._town.run(self._town.calls.ack(self.agent.id, [delivery]))
            return None, tuple(other for other in deliveries if other is not delivery)
        return None, deliveries

    async def _attended(
        self,
        deliveries: tuple[Delivery, ...],
        task: Task | None,
        run_id: str,
        reporter: Reporter,
        stack: AsyncExitStack,
    ) -> Outcome:
        """The round itself, with its leases renewed and its progress told beside it."""
        outcome: Outcome | None = None
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._renew, deliveries)
            nursery.start_soon(self._tell_progress, reporter, task, run_id)
            try:
                outcome = await self._work(deliveries, task, run_id, reporter, stack)
            except Exception as error:  # carried out of the nursery as it is, not in a group
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if outcome is None:
            return Interrupted(reason=self._why or "interrupted")
        return outcome

    async def _work(
        self,
        deliveries: tuple[Delivery, ...],
        task: Task | None,
        run_id: str,
        reporter: Reporter,
        stack: AsyncExitStack,
    ) -> Outcome:
        limits = self._town.config.round
        if self._session is None:
            self._session = await self._open_session(stack)
        messages = tuple(delivery.message for delivery in deliveries if delivery.message is not None)
        workspace = next((w for w in self._desk.plugins.workspaces if w.claims(self.agent, task)), None)
        async with AsyncExitStack() as place:
            directory = self._town.root
            if workspace is not None:
                directory = await place.enter_async_context(workspace.open(self.agent, task))
            round_ = Round(
                run_id=run_id,
                prompt=await self._prompt(task, messages),
                task=task,
                messages=messages,
                directory=directory,
                environment=round_environment(self._town.root, self.agent, task, run_id),
                log_path=log_path(self._town.root, self.agent.name),
                timeout_s=limits.timeout_s or None,
                silence_s=limits.silence_s or None,
                grace_s=limits.grace_s,
                session_id=self._session_id,
            )
            bound_s = limits.timeout_s + limits.grace_s + _OVERTIME_S if limits.timeout_s else float("inf")
            with trio.move_on_after(bound_s):
                return await self._session.run_round(round_, reporter)
        return Failed(reason=f"the backend did not end within its time of {limits.timeout_s:.0f} s")

    async def _prompt(self, task: Task | None, messages: tuple[Message, ...]) -> str:
        colleagues = await self._town.agents() if len(messages) > (task is not None) or task is not None else ()
        return build_prompt(
            agent=self.agent,
            town=self._town.name,
            task=task,
            messages=messages,
            colleagues=colleagues,
            sections=self._desk.plugins.prompt_sections(self.agent, task),
            explicit=self._town.config.round.completion == "explicit",
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
                        self._town.calls.renew(self.agent.id, deliveries, lease_ms=int(lease_s * 1000))
                    )
                    if not all(kept):
                        self.interrupt("the lease on its mail was lost")
                        return
                    held_until = trio.current_time() + lease_s
            except ServerUnreachable:
                pass
            if trio.current_time() > held_until:
                self.interrupt("the server could not be reached for a whole lease")
                return

    async def _tell_progress(self, reporter: Reporter, task: Task | None, run_id: str) -> None:
        told: str | None = None
        while True:
            await trio.sleep(_REPORT_EVERY_S)
            if reporter.latest is None or reporter.latest == told:
                continue
            told = reporter.latest
            members = {"agent": self.agent.name, "text": told, "task": task.id if task else "", "run": run_id}
            try:
                await self._town.run(self._town.calls.emit("agent_reported", members))
            except TinytownError:
                continue

    async def _tell_fault(self, error: Exception) -> None:
        owner = self._desk.plugins.backend_owner(self.agent.cli) or self.agent.cli
        members = {"plugin": owner, "text": f"a round of {self.agent.name} raised {shown(repr(error), 500)}"}
        try:
            await self._town.run(self._town.calls.emit("plugin_reported", members))
        except TinytownError:
            return

    async def _settle(
        self,
        outcome: Outcome,
        deliveries: tuple[Delivery, ...],
        task: Task | None,
        run_id: str,
        reporter: Reporter,
        began: float,
        duration_s: float,
    ) -> str | None:
        """Store the outcome, insisting as long as the lease may still be ours; shielded, because it was promised."""
        settled = settlement(outcome, self._desk, task, max(delivery.deliveries for delivery in deliveries))
        if isinstance(outcome, RateLimited):
            self._desk.parked[self.agent.cli] = trio.current_time() + settled.delay_s
        if isinstance(outcome, Finished | Failed) and outcome.session_id:
            self._session_id = outcome.session_id
        usage = (outcome.usage if isinstance(outcome, Finished | Failed) else None) or reporter.used
        kind = str(outcome.__struct_config__.tag)
        record = {
            "run": run_id,
            "outcome": kind,
            "reason": settled.reason,
            "task": task.id if task else None,
            "messages": [delivery.message.id for delivery in deliveries if delivery.message],
            "began_at": rfc3339(int(began * 1000)),
            "duration_s": round(duration_s, 3),
            "usage": usage,
            "text": settled.text[-4096:],
        }
        call = self._town.calls.settle_round(
            self.agent.id,
            self._fence,
            run_id,
            deliveries,
            outcome=kind,
            mail=settled.mail,
            delay_ms=int(settled.delay_s * 1000),
            reason=settled.reason,
            task_id=task.id if task else "",
            fate=settled.fate,
            text=settled.text,
            duration_ms=int(duration_s * 1000),
            session_id=self._session_id or "",
            record=msgspec.json.encode(record),
        )
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _SETTLE_FOR_S):
            while True:
                try:
                    state = await self._town.run(call)
                except ServerUnreachable:
                    await trio.sleep(0.2)
                else:
                    break
            if state == "verifying" and task is not None:
                await judge(self._desk, task.id, self._town.root)
        return settled.stop_reason


async def judge(desk: Desk, task_id: str, directory: Path) -> None:
    """Run the gates on a submitted task and store their verdict; a gate that raises refuses, with its error as evidence."""
    town = desk.town
    task = await town.task(task_id)
    passed, evidence = True, [""]
    for gate in desk.plugins.gates:
        try:
            with trio.fail_after(town.config.round.timeout_s or float("inf")):
                verdict = await gate.check(task, directory)
        except Exception as error:  # a broken gate must not let anything through
            passed, evidence = False, [f"gate {gate.name} failed: {shown(repr(error), 500)}"]
            break
        if not verdict.passed:
            passed, evidence = False, [f"gate {gate.name}: {verdict.evidence}"]
            break
    await town.run(town.calls.judge_task(task_id, passed=passed, evidence=evidence[0][-10_000:]))


def _as_outcome(error: Exception) -> Outcome:
    if isinstance(error, BackendUnavailable):
        return Unavailable(reason=error.message, hint=error.hint)
    if isinstance(error, TinytownError):
        return Failed(reason=str(error))
    return Failed(reason=f"the backend raised {shown(repr(error), 500)}")


def log_path(root: Path, agent: str) -> Path:
    """Where an agent's output is kept."""
    return root / RUNTIME_DIRECTORY / "logs" / f"{agent}.log"


_SCRIPTS = sysconfig.get_path("scripts")


def round_environment(root: Path, agent: Agent, task: Task | None, run_id: str) -> Mapping[str, str]:
    """The environment of a round's processes: the kernel's own, `tt` on the PATH, and who is calling when `tt` is run."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TINYTOWN_AGENT_")}
    path = ours.get("PATH", os.defpath)
    if _SCRIPTS not in path.split(os.pathsep):
        path = f"{_SCRIPTS}{os.pathsep}{path}"
    return ours | {
        "PATH": path,
        TOWN_VARIABLE: str(root),
        "TINYTOWN_AGENT_ID": agent.id,
        "TINYTOWN_AGENT_NAME": agent.name,
        "TINYTOWN_TASK_ID": task.id if task else "",
        "TINYTOWN_TASK_TOKEN": (task.token or "") if task else "",
        "TINYTOWN_RUN_ID": run_id,
    }
