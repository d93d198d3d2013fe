"""The directories that rounds and gates work in, and what becomes of them once their task has finished.

Which tasks a workspace has opened here is recorded in the town's state on this host, so that a killed kernel leaves none
unsettled.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import cast

import msgspec
import trio

from tinytown.contracts import Disposition, Purpose, WorkContext, Workspace
from tinytown.errors import NotFound, Refused
from tinytown.files import replace_file
from tinytown.kernel.context import KernelContext
from tinytown.model.agents import Agent
from tinytown.model.events import Event, TaskDeleted, TaskStateChanged
from tinytown.model.tasks import FINISHED, Task
from tinytown.state import state_directory

_RETRY_S = 60.0


class _Opened(msgspec.Struct, frozen=True, kw_only=True):
    """What a workspace has opened for a task: the record of it on this host."""

    workspace: str
    agent: Agent
    task: Task
    round_id: str | None = None
    directory: str = ""


@asynccontextmanager
async def open_workspace(context: KernelContext, work: WorkContext, purpose: Purpose) -> AsyncGenerator[Path]:
    """The directory to work in, and to run gates in: that of the first workspace that claims it, or the town's root.

    Raises: PluginFaulty when the workspace fails; what the block raises comes out as it is.
    """
    context.tasks_in_use[work.agent.id] = work.task.id if work.task else ""
    try:
        async with AsyncExitStack() as stack:
            directory = context.town.root
            if workspace := await claiming(context, work.agent, work.task):
                _record(workspace, work)
                opened = partial(workspace.open, work, purpose)
                entered = context.enter(workspace, f"workspace {workspace.name}", opened)
                directory = await stack.enter_async_context(entered)
                _record(workspace, work, directory)
            context.workspaces[work.agent.id] = directory
            yield directory
    finally:
        context.workspaces.pop(work.agent.id, None)
        context.tasks_in_use.pop(work.agent.id, None)
        context.settling.set()


async def claiming(context: KernelContext, agent: Agent, task: Task | None) -> Workspace | None:
    """The first workspace that claims a round. Raises: PluginFaulty when one fails."""
    for workspace in context.plugins.workspaces:
        try:
            with context.call(workspace):
                claims = workspace.claims(agent, task)
        except Exception as error:
            raise await context.fault(workspace, f"workspace {workspace.name}", error) from error
        if claims:
            return workspace
    return None


class WorkspaceSettler:
    """Settles finished tasks with the workspaces that opened them on this host; `on_event` says which have finished."""

    def __init__(self, context: KernelContext) -> None:
        self._context = context
        self._due: dict[str, float] = {}

    def on_event(self, event: Event) -> None:
        """Note a task that has finished."""
        if isinstance(event, TaskDeleted) or (isinstance(event, TaskStateChanged) and event.new in FINISHED):
            self._due[event.task] = trio.current_time()
            self._context.settling.set()

    async def run(self) -> None:
        """Settle finished tasks until cancelled: at first those of earlier kernels. What fails is tried again."""
        context = self._context
        for path in _directory(context.town.root).glob("*@*"):
            self._due[path.name.rpartition("@")[0]] = trio.current_time()
        while True:
            context.settling = trio.Event()
            free = [task_id for task_id in self._due if task_id not in context.tasks_in_use.values()]
            for task_id in free:
                if self._due[task_id] <= trio.current_time():
                    del self._due[task_id]
                    if not await self._settle(task_id):
                        self._due[task_id] = trio.current_time() + _RETRY_S
            with trio.move_on_at(min((self._due.get(task_id, float("inf")) for task_id in free), default=float("inf"))):
                await context.settling.wait()

    async def _settle(self, task_id: str) -> bool:
        """Settle one task, if it has finished; whether nothing is left to do."""
        done = True
        for path in _directory(self._context.town.root).glob(f"{task_id}@*"):
            try:
                opened = msgspec.json.decode(path.read_bytes(), type=_Opened)
            except (OSError, msgspec.MsgspecError):
                path.unlink(missing_ok=True)
                continue
            task = await self._context.persist(partial(self._task, opened))
            workspace = self._context.plugins.contributed("workspaces").get(opened.workspace)
            if workspace is None or not task.finished:  # its plugin may come back; its last round may be yet to come
                continue
            if settled := await self._settle_with(workspace, opened, task):
                path.unlink(missing_ok=True)
            done = done and settled
        return done

    async def _task(self, opened: _Opened) -> Task:
        """The task as it is now; cancelled if it was deleted."""
        try:
            return await self._context.town.task(opened.task.id)
        except NotFound:
            return msgspec.structs.replace(opened.task, state="cancelled")

    async def _settle_with(self, workspace: Workspace, opened: _Opened, task: Task) -> bool:
        context, limit_s = self._context, self._context.town.config.round.timeout_s or float("inf")
        here = bool(opened.directory) and task.round_id in (None, opened.round_id)
        work = await context.work_context(opened.agent, task, opened.round_id)
        disposition = cast("Disposition", task.state)
        try:
            with context.call(workspace), context.processes.clock.fail_after(limit_s):
                await workspace.settle(work, disposition, Path(opened.directory) if here else None)
        except Refused:  # not now
            return False
        except Exception as error:  # a workspace may raise anything; its other tasks are settled
            what = f"workspace {workspace.name}"
            await context.report_fault(workspace, what, error, consequence=f"retried in {_RETRY_S:.0f} s")
            return False
        return True


def _directory(root: Path) -> Path:
    return state_directory(root) / "opened"


def _record(workspace: Workspace, work: WorkContext, directory: Path | None = None) -> None:
    """Note that the workspace has this task open, unless it has no `settle` of its own."""
    if work.task is None or type(workspace).settle is Workspace.settle:
        return
    opened = _Opened(
        workspace=workspace.name,
        agent=work.agent,
        task=work.task,
        round_id=work.round_id,
        directory=str(directory or ""),
    )
    path = _directory(work.root) / f"{work.task.id}@{workspace.name}"
    if directory is not None or not path.exists():  # what was opened last still holds until this is open
        path.parent.mkdir(mode=0o700, exist_ok=True)
        replace_file(path, msgspec.json.encode(opened))
