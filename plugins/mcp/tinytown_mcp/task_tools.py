"""Tools for tasks and the backlog. An agent settles its task with the token of its round, as `tt` does."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from tinytown.errors import StaleLease, UsageError
from tinytown.model.messages import Priority
from tinytown.model.tasks import Task
from tinytown.model.text import shown
from tinytown_cli import administration
from tinytown_cli.serializers import task_shape

from tinytown_mcp.agent_tools import (
    EXCERPT_LENGTH,
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
from tinytown_mcp.contracts import ToolResult, ToolSession


@tool(NoArguments, changes=False)
def my_task(session: ToolSession, arguments: NoArguments) -> ToolResult:
    """Shows the task of this round in full, of several those that are left, and whether it is still yours: it may have been
    reassigned."""
    caller = session.caller
    if not caller.task_id and caller.task_token:
        running = session.run(session.operations.tasks(state="running", agent=caller.agent, limit=100))
        left = [task for task in reversed(running) if task.token == caller.task_token]
        text = "\n\n".join(map(_task_text, left)) or "this round has reported all its tasks: end the round"
        return ToolResult(text, {"task": task_shape(left[0]) if left else None, "is_yours": bool(left)})
    if not caller.task_id:
        current = session.run(administration.current_task(session.operations.keys, caller.agent))
        text = "this round has no task" + (f"; your open task is {current.id}: {current.headline}" if current else "")
        return ToolResult(text, {"task": None, "is_yours": False})
    task = session.run(session.operations.task(caller.task_id))
    is_yours = task.token == caller.task_token and not task.finished
    note = "" if is_yours else "\n\nThis task no longer belongs to this round: stop working on it and end the round."
    return ToolResult(_task_text(task) + note, {"task": task_shape(task), "is_yours": is_yours})


class TaskShowArguments(Arguments, frozen=True):
    task: TaskWord


@tool(TaskShowArguments, changes=False)
def task_show(session: ToolSession, arguments: TaskShowArguments) -> ToolResult:
    """Shows any task of the town in full: text, state, result and the reason for its state."""
    task = session.run(session.operations.task(arguments.task))
    return ToolResult(_task_text(task), {"task": task_shape(task)})


class TaskCompleteArguments(Arguments, frozen=True):
    result: Annotated[str, msgspec.Meta(description="What was done and how to verify it, for tasks that depend on it.")]
    task: OwnTask = ""


@tool(TaskCompleteArguments, changes=True)
def task_complete(session: ToolSession, arguments: TaskCompleteArguments) -> ToolResult:
    """Reports your task as done. If the town has gates, they check the work first (verifying) and return it to you if they
    refuse it."""
    return _settle(session, "submit", arguments.task, arguments.result)


class TaskFailArguments(Arguments, frozen=True):
    reason: Annotated[str, msgspec.Meta(description="Why it cannot be done, and what would have to change.")]
    task: OwnTask = ""


@tool(TaskFailArguments, changes=True)
def task_fail(session: ToolSession, arguments: TaskFailArguments) -> ToolResult:
    """Reports that your task cannot be done. Tasks that need it stay blocked."""
    return _settle(session, "fail", arguments.task, arguments.reason)


class TaskRejectArguments(Arguments, frozen=True):
    task: TaskWord
    reason: Annotated[
        str, msgspec.Meta(description="What is wrong, where, and what is expected. Its agent receives this.")
    ]


@tool(TaskRejectArguments, changes=True)
def task_reject(session: ToolSession, arguments: TaskRejectArguments) -> ToolResult:
    """Rejects finished work: reopens the task for the agent that did it. Tasks that need it are blocked again, including
    yours if it does; yours comes back to you afterwards."""
    return _task_result(
        session.run(administration.reopen_task(session.operations.keys, arguments.task, reason=arguments.reason)).task
    )


class TaskAssignArguments(Arguments, frozen=True):
    agent: AgentWord
    text: TaskText
    title: Title = ""
    needs: Needs = ()
    priority: Priority = "normal"


@tool(TaskAssignArguments, changes=True)
def task_assign(session: ToolSession, arguments: TaskAssignArguments) -> ToolResult:
    """Creates a task for another agent, which starts it when it is free and all needed tasks are completed."""
    if not arguments.agent.strip():
        raise UsageError("expected an agent, got an empty name", hint="backlog_add creates a task for any agent")
    operation = session.operations.add_task(
        arguments.text, agent=arguments.agent, title=arguments.title, needs=arguments.needs, priority=arguments.priority
    )
    return _task_result(session.run(operation).task)


class BacklogListArguments(Arguments, frozen=True):
    tag: Annotated[str, msgspec.Meta(description="Only tasks with this tag.")] = ""
    limit: Limit = 20


@tool(BacklogListArguments, changes=False)
def backlog_list(session: ToolSession, arguments: BacklogListArguments) -> ToolResult:
    """Lists unassigned tasks in the order in which they are offered, with role and tags."""
    backlog = session.run(session.operations.tasks(state="backlog", tag=arguments.tag, limit=arguments.limit))
    tasks = [
        {
            "id": task.id, "title": shown(task.headline, EXCERPT_LENGTH), "priority": task.priority, "role": task.role,
            "tags": task.tags,
        }
        for task in backlog
    ]  # fmt: skip
    words = [", ".join(filter(None, (task.priority, task.role, *task.tags))) for task in backlog]
    lines = [f"{item['id']} ({details}): {item['title']}" for item, details in zip(tasks, words, strict=True)]
    return ToolResult("\n".join(lines) or "the backlog is empty", {"tasks": tasks})


class BacklogClaimArguments(Arguments, frozen=True):
    task: TaskWord


@tool(BacklogClaimArguments, changes=True)
def backlog_claim(session: ToolSession, arguments: BacklogClaimArguments) -> ToolResult:
    """Claims a task of the backlog for yourself. It starts in a round of its own: do not start it in this one."""
    return _task_result(session.run(session.operations.claim_from_backlog(arguments.task, session.caller.agent)).task)


class BacklogAddArguments(Arguments, frozen=True):
    text: TaskText
    title: Title = ""
    role: Annotated[str, msgspec.Meta(description="The role it is for, as listed by who_is_who.")] = ""
    tags: Tags = ()
    needs: Needs = ()
    priority: Priority = "normal"


@tool(BacklogAddArguments, changes=True)
def backlog_add(session: ToolSession, arguments: BacklogAddArguments) -> ToolResult:
    """Adds work that you discovered but that is not yours to the backlog. Idle agents claim tasks with their role or one of
    their tags."""
    operation = session.operations.add_task(
        arguments.text,
        title=arguments.title,
        role=arguments.role,
        tags=arguments.tags,
        needs=arguments.needs,
        priority=arguments.priority,
    )
    return _task_result(session.run(operation).task)


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


def _settle(session: ToolSession, verb: Literal["submit", "fail"], task_word: str, text: str) -> ToolResult:
    caller = session.caller
    task_id = task_word or caller.task_id
    if not task_id and caller.task_token:
        raise UsageError("this round has several tasks", hint="name the task that you report")
    if not task_id:
        raise UsageError("this round has no task to settle", hint="name a task, or just end the round")
    operation = session.operations.settle_task(verb, task_id, text=text, by=caller.agent, token=caller.task_token)
    try:
        return _task_result(session.run(operation))
    except StaleLease as error:
        raise StaleLease(
            error.message,
            hint="the task no longer belongs to this round: stop working on it and end the round",
            **error.fields,
        ) from error


def _task_result(task: Task) -> ToolResult:
    assignee = f", for {task.assigned_to}" if task.assigned_to else ""
    reason = f": {shown(task.reason, EXCERPT_LENGTH)}" if task.reason else ""
    value = {"task_id": task.id, "state": task.state, "agent": task.assigned_to, "reason": task.reason}
    return ToolResult(f"task {task.id} is {task.state}{assignee}{reason}", value)


def _task_text(task: Task) -> str:
    parts = [_task_result(task).text, task.title, task.description]
    if task.needs:
        parts.append(
            f"needs: {', '.join(task.needs)}" + (f"; open: {', '.join(task.open_needs)}" if task.open_needs else "")
        )
    if task.rejection:
        parts.append(f"rejected: {task.rejection}")
    if task.result:
        parts.append(f"result: {task.result}")
    return "\n\n".join(filter(None, parts))
