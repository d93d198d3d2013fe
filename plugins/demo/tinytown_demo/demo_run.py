"""Runs the demo: opens the town with its kernel, spawns the agents, adds the plan, and follows events until all is settled.

Every event goes to a `View`. When it returns or is cancelled, no process of the town is left: the kernel is closed and the
embedded server is stopped. `report` checks the result.
"""

from __future__ import annotations

import signal
import subprocess
import sys
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

from tinytown_demo.demo_town import TOWN, DemoTown, make_demo_town
from tinytown_demo.plan import PLAN, Where, order_of

_STOP_BOUND_S = 15.0


class View(Protocol):
    """Shows the demo. Its methods return at once."""

    def opened(self, root: Path) -> None:
        """The town is open."""
        ...

    def event_happened(self, event: Event, text: str) -> None:
        """An event, oldest first; `text` is the text of a message or the result of a completed task."""
        ...

    def update(self, agents: Sequence[Agent], tasks: Sequence[Task]) -> None:
        """All agents and tasks after an event."""
        ...

    def closed(self) -> None:
        """The demo has ended."""
        ...


@dataclass
class DemoRun:
    """The record of a demo that ended, or reached its time limit (`timed_out`)."""

    root: Path
    town: str
    agents: tuple[Agent, ...] = ()
    tasks: tuple[Task, ...] = ()
    events: list[Event] = field(default_factory=list[Event])
    timed_out: bool = False
    duration_s: float = 0.0


@asynccontextmanager
async def open_interruptible() -> AsyncGenerator[None]:
    """Cancels the block on SIGINT, SIGTERM or SIGHUP. Raises: KeyboardInterrupt after it was cancelled."""
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


async def run_demo(
    directory: Path | None, view: View, *, cli: str | None, workspace: Where, timeout_s: float
) -> DemoRun:
    """Create the town and carry out the plan in it, with scripted agents or those of the kind `cli`.

    Raises: what `make_demo_town` and `open_town` raise; nothing is left of the town then.
    """
    start_s = trio.current_time()
    # Not abandoned when cancelled: it has to remove what it has created.
    demo_town = await trio.to_thread.run_sync(
        lambda: make_demo_town(directory, cli=cli, workspace=workspace, round_timeout_s=timeout_s)
    )
    run, is_open = DemoRun(demo_town.root, TOWN), False
    try:
        try:
            async with open_town(demo_town.root, kernel=True) as town:
                is_open = True
                view.opened(demo_town.root)
                await _follow_plan(town, run, view, cli=cli, workspace=workspace, timeout_s=timeout_s)
            run.duration_s = trio.current_time() - start_s
            if workspace == "worktree":
                await _remove_worktrees(demo_town)
        finally:
            await _stop_server(demo_town)
            view.closed()
    except BaseException:
        if not is_open:
            demo_town.clear()
        raise
    return run


async def _follow_plan(
    town: Town, run: DemoRun, view: View, *, cli: str | None, workspace: Where, timeout_s: float
) -> None:
    for part in PLAN:
        await town.spawn(part.agent, cli=cli or part.agent, role=part.role)
    for part in PLAN:
        await town.add_task(
            order_of(part, workspace), agent=part.agent, title=part.title, task_id=part.task, needs=part.needs
        )
    with trio.move_on_after(timeout_s) as limit:
        async for event in town.events(after="0"):
            run.events.append(event)
            view.event_happened(event, await _text_of(town, event))
            run.agents, run.tasks = await town.agents(), (await town.tasks())[::-1]
            view.update(run.agents, run.tasks)
            if is_over(run.agents, run.tasks) and await _was_last(town, event):
                break
    run.timed_out = limit.cancelled_caught


def is_over(agents: Sequence[Agent], tasks: Sequence[Task]) -> bool:
    """Whether nothing more will happen: all tasks are finished or blocked and all agents idle, or an agent is in error."""
    if any(agent.state == "error" for agent in agents):
        return True
    at_rest = all(agent.state == "idle" and agent.mail.total == agent.mail.with_next for agent in agents)
    return at_rest and all(task.finished or task.state == "blocked" for task in tasks)


async def _was_last(town: Town, event: Event) -> bool:
    return not await town.run(town.operations.events_after(event.id, count=1))


async def _text_of(town: Town, event: Event) -> str:
    """What the event does not hold: the text of a message that is still in its mailbox, or the result of a task."""
    if isinstance(event, TaskStateChanged) and event.new == "completed":
        return (await town.task(event.task)).result or ""
    if isinstance(event, MessageSent):
        for message in await town.inbox(event.recipient):
            if message.id == event.message:
                return message.text
    return ""


async def _remove_worktrees(demo_town: DemoTown) -> None:
    """Remove the worktrees of finished tasks, so that the repository alone is left. Those with work that is not merged stay."""
    command = [sys.executable, "-m", "tinytown", "gc"]
    with trio.move_on_after(_STOP_BOUND_S):
        await trio.run_process(
            command, cwd=demo_town.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        )


async def _stop_server(demo_town: DemoTown) -> None:
    server = town_server(demo_town.root, load_config(demo_town.root))
    if server is not None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _STOP_BOUND_S):
            await trio.to_thread.run_sync(server.stop)
