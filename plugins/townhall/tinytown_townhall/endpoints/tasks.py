"""Tasks and the backlog: add, list, change, assign, settle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from tinytown.model.messages import Priority
from tinytown.model.tasks import TaskState
from tinytown_cli import administration

from tinytown_townhall.reads import TaskRow, task_page, task_row
from tinytown_townhall.routing import Call, Endpoints
from tinytown_townhall.views import Ids, Reason, TaskList, TaskView, Waiting, task_view

TASKS = Endpoints("tasks")

Limit = Annotated[int, msgspec.Meta(ge=1, le=1_000)]


class TaskQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which tasks. `cursor` is the member `next` of the page before."""

    state: TaskState | Literal["backlog", ""] = ""
    agent: str = ""
    tag: str = ""
    limit: Limit = 50
    cursor: str = ""


class RowQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which tasks. `cursor` is the member `next` of the page before."""

    state: TaskState | Literal["backlog", ""] = ""
    limit: Limit = 500
    cursor: str = ""


class TaskRows(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks for a board, the newest first; `next` is the cursor of the page that follows, null on the last."""

    tasks: Sequence[TaskRow]
    next: str | None


class NewTask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A task, for `agent` or, without one, for the backlog. `needs` name the tasks that have to be completed first."""

    description: str
    agent: str = ""
    title: str = ""
    priority: Priority = "normal"
    needs: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    role: str = ""
    parent: str = ""
    held: str = ""


class TaskPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What of a task is to be changed; null leaves it."""

    description: str | None = None
    title: str | None = None
    priority: Priority | None = None
    needs: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    role: str | None = None
    parent: str | None = None


class Result(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was done."""

    result: str = ""


class Hold(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a task is held, and until when (RFC 3339); without a time until it is released."""

    reason: str
    until: str = ""


class Assignment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The agent that gets it."""

    agent: str


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new task for an agent, in words."""

    agent: str
    task: str


class Ordered(msgspec.Struct, frozen=True, kw_only=True):
    """The task that was made."""

    task_id: str
    agent_id: str | None
    agent_name: str | None


class BacklogItem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new task for the backlog."""

    description: str
    tags: tuple[str, ...] = ()


class CurrentTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task; null if there is none, or more than one."""

    task: TaskView | None


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """The task that was deleted."""

    removed: bool
    task_id: str


@TASKS.get("/v1/tasks")
async def list_tasks(call: Call, query: TaskQuery) -> TaskList:
    """Tasks that match all that is given, the newest first, page by page."""
    agent_id = (await call.run(call.town.operations.agent(query.agent))).id if query.agent else ""
    page = await call.run(
        task_page(
            call.town.operations.keys,
            state=query.state,
            agent_id=agent_id,
            tag=query.tag,
            cursor=query.cursor,
            limit=query.limit,
        )
    )
    return TaskList(tasks=[task_view(task) for task in page.tasks], next=page.next)


@TASKS.get("/v1/task-rows")
async def list_task_rows(call: Call, query: RowQuery) -> TaskRows:
    """Tasks as a board shows them: short, page by page."""
    keys = call.town.operations.keys
    page = await call.run(task_page(keys, state=query.state, cursor=query.cursor, limit=query.limit))
    return TaskRows(tasks=[task_row(task) for task in page.tasks], next=page.next)


@TASKS.post("/v1/tasks", status=201)
async def add_task(call: Call, body: NewTask) -> TaskView:
    """Add a task: for an agent, which starts it as soon as it can, or for the backlog."""
    given: dict[str, Any] = msgspec.structs.asdict(body)
    task = await call.town.add_task(given.pop("description"), agent=given.pop("agent"), **given)
    await _start(call, task.agent_id)
    return task_view(task)


@TASKS.post("/v1/tasks/assign", status=201, is_tool=False)
async def order_task(call: Call, body: Order) -> Ordered:
    """Add a task for an agent, in words: the short form of the Rust Tinytown."""
    task = await call.town.add_task(body.task, agent=body.agent)
    await _start(call, task.agent_id)
    return Ordered(task_id=task.id, agent_id=task.agent_id, agent_name=task.assigned_to)


@TASKS.get("/v1/tasks/pending", is_tool=False)
async def list_open_tasks(call: Call, query: RowQuery) -> TaskRows:
    """Tasks that an agent has and has not begun."""
    keys = call.town.operations.keys
    page = await call.run(task_page(keys, state="assigned", cursor=query.cursor, limit=query.limit))
    return TaskRows(tasks=[task_row(task) for task in page.tasks], next=page.next)


@TASKS.get("/v1/tasks/{task}")
async def show_task(call: Call, task: str) -> TaskView:
    """One task in full, by its id or the beginning of it."""
    return task_view(await call.town.task(task))


@TASKS.get("/v1/agents/{agent}/task")
async def show_current_task(call: Call, agent: str) -> CurrentTask:
    """The task that an agent works on, or its only open one."""
    found = await call.run(administration.current_task(call.town.operations.keys, agent))
    return CurrentTask(task=task_view(found) if found else None)


@TASKS.get("/v1/tasks/{task}/wait")
async def wait_for_task(call: Call, task: str, query: Waiting) -> TaskView:
    """The task once it is completed, failed or cancelled, or as it is when the time is over."""
    found = await call.town.task(task)
    return task_view(await call.wait(lambda: call.town.task(found.id), lambda now: now.finished, query.timeout_s))


@TASKS.patch("/v1/tasks/{task}")
async def change_task(call: Call, task: str, body: TaskPatch) -> TaskView:
    """Edit a task that is neither in progress nor finished."""
    changes: dict[str, Any] = msgspec.structs.asdict(body)
    return task_view(await call.run(administration.update_task(call.town.operations, task, **changes)))


@TASKS.delete("/v1/tasks/{task}")
async def delete_task(call: Call, task: str) -> Deleted:
    """Delete a task that is not in progress and that no open task needs."""
    return Deleted(removed=True, task_id=await call.run(administration.delete_task(call.town.operations.keys, task)))


@TASKS.post("/v1/tasks/{task}/complete")
async def complete_task(call: Call, task: str, body: Result) -> TaskView:
    """Complete a task, as a person may; no gate is asked."""
    return task_view(await call.town.complete_task(task, body.result))


@TASKS.post("/v1/tasks/{task}/fail")
async def fail_task(call: Call, task: str, body: Reason) -> TaskView:
    """Mark a task as failed. Tasks that need it stay blocked."""
    return task_view(await call.run(call.town.operations.settle_task("fail", task, text=body.reason)))


@TASKS.post("/v1/tasks/{task}/cancel")
async def cancel_task(call: Call, task: str, body: Reason) -> TaskView:
    """Cancel a task; a running round on it is interrupted."""
    return task_view(await call.town.cancel_task(task, body.reason or call.asker))


@TASKS.post("/v1/tasks/{task}/reopen")
async def reopen_task(call: Call, task: str, body: Reason) -> TaskView:
    """Reopen a finished task, for its agent or the backlog; tasks that need it are blocked again."""
    reopened = (
        await call.run(administration.reopen_task(call.town.operations.keys, task, reason=body.reason or "reopened"))
    ).task
    await _start(call, reopened.agent_id)
    return task_view(reopened)


@TASKS.post("/v1/tasks/{task}/hold")
async def hold_task(call: Call, task: str, body: Hold) -> TaskView:
    """Hold a task back; a running round on it is interrupted."""
    return task_view(
        await call.run(administration.hold_task(call.town.operations.keys, task, reason=body.reason, until=body.until))
    )


@TASKS.post("/v1/tasks/{task}/release")
async def release_task(call: Call, task: str) -> TaskView:
    """Release a held task: to its agent or the backlog, unless it needs other tasks."""
    released = await call.run(administration.release_task(call.town.operations.keys, task))
    await _start(call, released.agent_id)
    return task_view(released)


@TASKS.post("/v1/tasks/{task}/requeue")
async def requeue_task(call: Call, task: str, body: Reason) -> TaskView:
    """Move a task from its agent to the backlog; a running round on it is interrupted."""
    keys = call.town.operations.keys
    return task_view(await call.run(administration.requeue_task(keys, task, reason=body.reason or "requeued")))


@TASKS.post("/v1/tasks/{task}/assign")
async def assign_task(call: Call, task: str, body: Assignment) -> TaskView:
    """Assign a task that is not in progress to an agent."""
    assigned = await call.run(call.town.operations.assign_task(task, body.agent))
    await _start(call, assigned.task.agent_id)
    return task_view(assigned.task)


@TASKS.get("/v1/backlog")
async def list_backlog(call: Call, query: RowQuery) -> TaskRows:
    """The backlog, in the order in which it is offered."""
    keys = call.town.operations.keys
    page = await call.run(task_page(keys, state="backlog", cursor=query.cursor, limit=query.limit))
    return TaskRows(tasks=[task_row(task) for task in page.tasks], next=page.next)


@TASKS.post("/v1/backlog", status=201, is_tool=False)
async def add_to_backlog(call: Call, body: BacklogItem) -> TaskView:
    """Add a task to the backlog."""
    return task_view(await call.town.add_task(body.description, tags=body.tags))


@TASKS.delete("/v1/backlog/{task}", is_tool=False)
async def delete_from_backlog(call: Call, task: str) -> Deleted:
    """Delete a task of the backlog: another path for deleting a task."""
    answer: Deleted = await delete_task(call, task)
    return answer


@TASKS.post("/v1/backlog/{task}/claim")
async def claim_from_backlog(call: Call, task: str, body: Assignment) -> Ordered:
    """Give a task of the backlog to an agent."""
    claimed = (await call.run(call.town.operations.claim_from_backlog(task, body.agent))).task
    await _start(call, claimed.agent_id)
    return Ordered(task_id=claimed.id, agent_id=claimed.agent_id, agent_name=claimed.assigned_to)


@TASKS.post("/v1/backlog/assign-all")
async def assign_backlog(call: Call, body: Assignment) -> Ids:
    """Give the whole backlog, 1,000 tasks at most, to an agent."""
    ids = await call.run(administration.assign_backlog(call.town.operations.keys, body.agent))
    await _start(call, "some" if ids else None)
    return Ids(ids=ids)


async def _start(call: Call, agent_id: str | None) -> None:
    """Start a kernel where none runs, if there is something for an agent now."""
    if agent_id:
        await call.hall.start_kernel()
