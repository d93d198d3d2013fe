"""Tools for tasks and the backlog. What an agent says of its task carries the token of its round, as `tt` does it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from tinytown.errors import StaleLease, UsageError
from tinytown.model.messages import Priority
from tinytown.model.tasks import Task
from tinytown.model.text import shown
from tinytown_cli.serializers import task_shape

from tinytown_mcp.mcp import ToolResult
from tinytown_mcp.office import ToolSession
from tinytown_mcp.toolbox import (
    BEGINNING,
    AgentWord,
    Arguments,
    Limit,
    Needs,
    NoArguments,
    OwnTask,
    Tags,
    TaskText,
    TaskWord,
    Title,
    tool,
)


@tool(NoArguments, changes=False)
def my_task(office: ToolSession, given: NoArguments) -> ToolResult:
    """Shows the task of this round as it is now, in full, and whether it is still yours: it may have been taken away."""
    caller = office.caller
    if not caller.task_id:
        found = office.run(office.operations.current_task(caller.agent))
        told = "this round has no task" + (f"; your open one is {found.id}: {found.headline}" if found else "")
        return ToolResult(told, {"task": None, "is_yours": False})
    task = office.run(office.operations.task(caller.task_id))
    is_yours = task.token == caller.task_token and not task.finished
    note = "" if is_yours else "\n\nIt is not this round's any more: stop working on it, and end."
    return ToolResult(_whole(task) + note, {"task": task_shape(task), "is_yours": is_yours})


class TaskShowArguments(Arguments, frozen=True):
    task: TaskWord


@tool(TaskShowArguments, changes=False)
def task_show(office: ToolSession, given: TaskShowArguments) -> ToolResult:
    """Shows any task of the town in full: its text, state, result, and why it is as it is."""
    task = office.run(office.operations.task(given.task))
    return ToolResult(_whole(task), {"task": task_shape(task)})


class TaskCompleteArguments(Arguments, frozen=True):
    result: Annotated[str, msgspec.Meta(description="What was done and how one sees it, for those who build on it.")]
    task: OwnTask = ""


@tool(TaskCompleteArguments, changes=True)
def task_complete(office: ToolSession, given: TaskCompleteArguments) -> ToolResult:
    """Says that your task is done. Where the town has gates they look at the work first (verifying), and send it back to you
    when they do not agree."""
    return _settle(office, "submit", given.task, given.result)


class TaskFailArguments(Arguments, frozen=True):
    reason: Annotated[str, msgspec.Meta(description="Why it cannot be done, and what would have to be different.")]
    task: OwnTask = ""


@tool(TaskFailArguments, changes=True)
def task_fail(office: ToolSession, given: TaskFailArguments) -> ToolResult:
    """Says that your task cannot be done. Tasks that need it stay blocked."""
    return _settle(office, "fail", given.task, given.reason)


class TaskRejectArguments(Arguments, frozen=True):
    task: TaskWord
    reason: Annotated[
        str, msgspec.Meta(description="What is wrong, where, and what would be right. Its agent is told.")
    ]


@tool(TaskRejectArguments, changes=True)
def task_reject(office: ToolSession, given: TaskRejectArguments) -> ToolResult:
    """Sends finished work back: opens the task again, for whoever did it. What needs it waits again, your own task too if
    it does; it is offered to you again afterwards."""
    return _told(office.run(office.operations.reopen_task(given.task, reason=given.reason)).task)


class TaskAssignArguments(Arguments, frozen=True):
    agent: AgentWord
    text: TaskText
    title: Title = ""
    needs: Needs = ()
    priority: Priority = "normal"


@tool(TaskAssignArguments, changes=True)
def task_assign(office: ToolSession, given: TaskAssignArguments) -> ToolResult:
    """Makes a task for another agent, which begins it when it is free and all that it needs is completed."""
    if not given.agent.strip():
        raise UsageError("expected an agent, got an empty name", hint="backlog_add makes a task for anybody")
    call = office.operations.add_task(
        given.text, agent=given.agent, title=given.title, needs=given.needs, priority=given.priority
    )
    return _told(office.run(call).task)


class BacklogListArguments(Arguments, frozen=True):
    tag: Annotated[str, msgspec.Meta(description="Only tasks with this tag.")] = ""
    limit: Limit = 20


@tool(BacklogListArguments, changes=False)
def backlog_list(office: ToolSession, given: BacklogListArguments) -> ToolResult:
    """Lists the tasks that nobody has yet, in the order in which they are offered, with role and tags."""
    found = office.run(office.operations.tasks(state="backlog", tag=given.tag, limit=given.limit))
    tasks = [
        {
            "id": task.id, "title": shown(task.headline, BEGINNING), "priority": task.priority, "role": task.role,
            "tags": task.tags,
        }
        for task in found
    ]  # fmt: skip
    words = [", ".join(filter(None, (task.priority, task.role, *task.tags))) for task in found]
    lines = [f"{each['id']} ({more}): {each['title']}" for each, more in zip(tasks, words, strict=True)]
    return ToolResult("\n".join(lines) or "the backlog is empty", {"tasks": tasks})


class BacklogClaimArguments(Arguments, frozen=True):
    task: TaskWord


@tool(BacklogClaimArguments, changes=True)
def backlog_claim(office: ToolSession, given: BacklogClaimArguments) -> ToolResult:
    """Takes a task of the backlog for yourself. It comes in a round of its own: do not begin it in this one."""
    return _told(office.run(office.operations.claim_from_backlog(given.task, office.caller.agent)).task)


class BacklogAddArguments(Arguments, frozen=True):
    text: TaskText
    title: Title = ""
    role: Annotated[str, msgspec.Meta(description="The role it is for, as who_is_who lists them.")] = ""
    tags: Tags = ()
    needs: Needs = ()
    priority: Priority = "normal"


@tool(BacklogAddArguments, changes=True)
def backlog_add(office: ToolSession, given: BacklogAddArguments) -> ToolResult:
    """Puts work that you have found, and that is not yours, onto the backlog. Idle agents take what bears their role or one
    of their tags."""
    call = office.operations.add_task(
        given.text, title=given.title, role=given.role, tags=given.tags, needs=given.needs, priority=given.priority
    )
    return _told(office.run(call).task)


TASK_TOOLS = (
    my_task,
    task_show,
    task_complete,
    task_fail,
    task_reject,
    task_assign,
    backlog_list,
    backlog_claim,
    backlog_add,
)


def _settle(office: ToolSession, verb: Literal["submit", "fail"], word: str, text: str) -> ToolResult:
    caller = office.caller
    chosen = word or caller.task_id
    if not chosen:
        raise UsageError("this round has no task to settle", hint="name one, or only end")
    call = office.operations.settle_task(verb, chosen, text=text, by=caller.agent, token=caller.task_token)
    try:
        return _told(office.run(call))
    except StaleLease as error:
        raise StaleLease(
            error.message, hint="the task was taken from this round: stop working on it, and end", **error.fields
        ) from error


def _told(task: Task) -> ToolResult:
    who = f", for {task.assigned_to}" if task.assigned_to else ""
    why = f": {shown(task.reason, BEGINNING)}" if task.reason else ""
    value = {"task_id": task.id, "state": task.state, "agent": task.assigned_to, "reason": task.reason}
    return ToolResult(f"task {task.id} is {task.state}{who}{why}", value)


def _whole(task: Task) -> str:
    parts = [_told(task).text, task.title, task.description]
    if task.needs:
        parts.append(
            f"needs: {', '.join(task.needs)}" + (f"; open: {', '.join(task.open_needs)}" if task.open_needs else "")
        )
    if task.rejection:
        parts.append(f"sent back: {task.rejection}")
    if task.result:
        parts.append(f"result: {task.result}")
    return "\n\n".join(filter(None, parts))
