"""The demo itself: opens the town with its kernel, brings in the agents and the plan, and watches until nothing moves.

Whatever happens goes to a `View` as it happens. When it returns, and when it is cancelled, no process of the town is
left: the kernel has closed and the embedded server has stopped. What came of it all is said by `report`.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import trio
from tinytown.concurrency import open_background
from tinytown.config import load_config
from tinytown.kernel import open_town
from tinytown.model.agents import Agent
from tinytown.model.events import Event, MessageSent, TaskStateChanged
from tinytown.model.tasks import Task
from tinytown.redis import town_server
from tinytown.town import Town

from tinytown_demo.plan import PLAN
from tinytown_demo.stage import TOWN, Stage, make_stage

_STOP_BOUND_S = 15.0


class View(Protocol):
    """Somebody who watches. Calls return at once."""

    def began(self, root: Path) -> None:
        """The town is open."""
        ...

    def happened(self, event: Event, text: str) -> None:
        """Something happened; `text` is what a message says, or a completed task's result."""
        ...

    def now(self, agents: Sequence[Agent], tasks: Sequence[Task]) -> None:
        """How things stand."""
        ...

    def ended(self) -> None:
        """Nothing more will happen."""
        ...


@dataclass
class Played:
    """What was seen of a demo that has come to its end, or to its time limit (`timed_out`)."""

    root: Path
    town: str
    agents: tuple[Agent, ...] = ()
    tasks: tuple[Task, ...] = ()
    events: list[Event] = field(default_factory=list[Event])
    timed_out: bool = False
    duration_s: float = 0.0


@asynccontextmanager
async def open_interruptible() -> AsyncGenerator[None]:
    """Cancels the block on SIGINT, SIGTERM or SIGHUP. Raises: KeyboardInterrupt then, when the block has tidied up."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        with trio.CancelScope() as scope:
            async with open_background() as nursery:
                nursery.start_soon(_cancel_on_signal, signals, scope)
                yield
        if scope.cancelled_caught:
            raise KeyboardInterrupt


async def _cancel_on_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()


async def play(wanted: Path | None, view: View, *, cli: str | None, timeout_s: float) -> Played:
    """Make the stage and play the plan on it, with scripted agents or those of the kind `cli`.

    Raises: what `make_stage` and `open_town` raise; then nothing is left of the stage.
    """
    began = trio.current_time()
    # Not to be abandoned when cancelled: it has to clear away what it has begun.
    stage = await trio.to_thread.run_sync(lambda: make_stage(wanted, cli=cli, round_timeout_s=timeout_s))
    played, has_opened = Played(stage.root, TOWN), False
    try:
        try:
            async with open_town(stage.root, kernel=True) as town:
                has_opened = True
                view.began(stage.root)
                await _follow_plan(town, played, view, cli=cli, timeout_s=timeout_s)
        finally:
            await _stop_server(stage)
            view.ended()
    except BaseException:
        if not has_opened:
            stage.clear()
        raise
    played.duration_s = trio.current_time() - began
    return played


async def _follow_plan(town: Town, played: Played, view: View, *, cli: str | None, timeout_s: float) -> None:
    for part in PLAN:
        await town.spawn(part.agent, cli=cli or part.agent, role=part.role)
    for part in PLAN:
        await town.add_task(part.order, agent=part.agent, title=part.title, task_id=part.task, needs=part.needs)
    with trio.move_on_after(timeout_s) as limit:
        async for event in town.events(after="0"):
            played.events.append(event)
            view.happened(event, await _text_of(town, event))
            played.agents, played.tasks = await town.agents(), (await town.tasks())[::-1]
            view.now(played.agents, played.tasks)
            if is_over(played.agents, played.tasks) and await _was_last(town, event):
                break
    played.timed_out = limit.cancelled_caught


def is_over(agents: Sequence[Agent], tasks: Sequence[Task]) -> bool:
    """Whether nothing will happen any more by itself: all is done, or what is left waits for what will not come."""
    if any(agent.state == "error" for agent in agents):
        return True
    at_rest = all(agent.state == "idle" and agent.mail.total == 0 for agent in agents)
    return at_rest and all(task.finished or task.state == "blocked" for task in tasks)


async def _was_last(town: Town, event: Event) -> bool:
    return not await town.run(town.operations.events_after(event.id, count=1))


async def _text_of(town: Town, event: Event) -> str:
    """What an event itself is silent about: the text of a message that still lies in its mailbox, a task's result."""
    if isinstance(event, TaskStateChanged) and event.new == "completed":
        return (await town.task(event.task)).result or ""
    if isinstance(event, MessageSent):
        for message in await town.inbox(event.recipient):
            if message.id == event.message:
                return message.text
    return ""


async def _stop_server(stage: Stage) -> None:
    server = town_server(stage.root, load_config(stage.root))
    if server is None:
        return
    with trio.CancelScope(shield=True, deadline=trio.current_time() + _STOP_BOUND_S):
        await trio.to_thread.run_sync(server.stop)
