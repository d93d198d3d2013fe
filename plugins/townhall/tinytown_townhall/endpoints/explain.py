"""Why things are as they are, and what helps: reasons, the tree of tasks, the next prompt, recovery, checks.

Each is what a command prints with ``--json``, made by the command itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from tinytown_ops.doctor.command import doctor
from tinytown_ops.doctor.reclaim_command import reclaim
from tinytown_ops.doctor.recover_command import recover
from tinytown_ops.explain.blockers import Blocker
from tinytown_ops.explain.prompt_command import prompt
from tinytown_ops.explain.tree_command import Branch, tree
from tinytown_ops.explain.why_command import task_why, why

from tinytown_townhall.routing import Call, Endpoints
from tinytown_townhall.views import TaskView

EXPLAIN = Endpoints("explain")


class TaskReasons(msgspec.Struct, frozen=True, kw_only=True):
    """Why a task is not running, each reason with its causes; none if nothing stands in the way."""

    task: TaskView
    reasons: tuple[Blocker, ...]


class OpenTasks(msgspec.Struct, frozen=True, kw_only=True):
    """The tasks that are not finished, each with why it is not running."""

    tasks: tuple[TaskReasons, ...]


class TreeQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The tree of one `task`, or those of all; with `all`, trees whose tasks are finished, too."""

    task: str = ""
    all: bool = False


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks with their parts and what they need below them."""

    tree: tuple[Branch, ...]


class PromptQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As if the round were for `task`; empty: for what comes next."""

    task: str = ""


class NextPrompt(msgspec.Struct, frozen=True, kw_only=True):
    """The prompt that an agent's next round would get now, and the messages in it."""

    agent: str
    task_id: str | None
    messages: Sequence[str]
    prompt: str


class RecoveryHost(msgspec.Struct, frozen=True, kw_only=True):
    """A kernel: alive, killed on this machine, or lost."""

    id: str
    name: str
    pid: int
    agents: int
    lease_left_s: float
    state: Literal["alive", "killed", "lost"]


class StuckAgent(msgspec.Struct, frozen=True, kw_only=True):
    """An agent in error, or one that should run and that no kernel has."""

    agent: str
    state: str
    reason: str | None
    since: str | None
    host: str | None


class LeftProcess(msgspec.Struct, frozen=True, kw_only=True):
    """A process that an earlier kernel left behind."""

    pid: int
    name: str
    run: str | None


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """What crashed or is stuck; `swept` says that it was released now."""

    swept: bool
    hosts: Sequence[RecoveryHost]
    agents: Sequence[StuckAgent]
    processes: Sequence[LeftProcess]
    dead_letters: int


class Reclaim(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What agents have that are stopped or in error, or the one that is named; to another agent `to`, or onto the backlog.

    Without a destination it is only listed. With `orphan_tasks` mail stays, and `cancel` or `delete` end the tasks.
    """

    agent: str = ""
    to: str = ""
    to_backlog: bool = False
    orphan_tasks: bool = False
    cancel: bool = False
    delete: bool = False


class NotReclaimed(msgspec.Struct, frozen=True, kw_only=True):
    """What was left where it is; `task` is null for all that an agent has."""

    task: str | None
    reason: str


class ReclaimedAgent(msgspec.Struct, frozen=True, kw_only=True):
    """Ids of the tasks and messages of an agent, and of the tasks that were made of its orders in words."""

    agent: str
    state: str
    tasks: Sequence[str]
    messages: Sequence[str]
    made: Sequence[str]
    left: Sequence[NotReclaimed]


class Reclaimed(msgspec.Struct, frozen=True, kw_only=True):
    """What was done with what agents had."""

    action: Literal["preview", "moved", "cancelled", "deleted"]
    to: str | None
    agents: Sequence[ReclaimedAgent]


class Check(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """With `task`, a temporary agent does a task that calls no model, where a kernel runs."""

    task: bool = False


class CheckFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One result of a check, and how to fix it."""

    check: str
    level: Literal["ok", "note", "problem"]
    found: str
    fix: str


class Checkup(msgspec.Struct, frozen=True, kw_only=True):
    """What was checked."""

    healthy: bool
    findings: Sequence[CheckFinding]


@EXPLAIN.get("/v1/why")
async def explain_tasks(call: Call) -> OpenTasks:
    """Why each task that is not finished is not running."""
    return await call.command(why, OpenTasks, word=None)


@EXPLAIN.get("/v1/tasks/{task}/why")
async def explain_task(call: Call, task: str) -> TaskReasons:
    """Why a task is not running, down to the root cause, and what to do about each reason."""
    return await call.command(task_why, TaskReasons, task_word=task)


@EXPLAIN.get("/v1/task-tree")
async def show_task_tree(call: Call, query: TreeQuery) -> Tree:
    """Tasks with their parts and dependencies below them."""
    return await call.command(tree, Tree, task_word=query.task or None, with_finished=query.all)


@EXPLAIN.get("/v1/agents/{agent}/prompt")
async def show_prompt(call: Call, agent: str, query: PromptQuery) -> NextPrompt:
    """The prompt that the next round of an agent would get now; nothing is claimed."""
    return await call.command(prompt, NextPrompt, agent=agent, task_word=query.task or None)


@EXPLAIN.get("/v1/recover")
async def show_recovery(call: Call) -> Recovery:
    """Kernels, agents and processes that crashed or are stuck; recovery itself is automatic."""
    return await call.command(recover, Recovery)


@EXPLAIN.post("/v1/recover", "agent.manage")
async def recover_now(call: Call) -> Recovery:
    """Release now what lost kernels hold, as the next sweep of a kernel does."""
    return await call.command(recover, Recovery, now=True)


@EXPLAIN.post("/v1/reclaim", "agent.manage")
async def reclaim_work(call: Call, body: Reclaim) -> Reclaimed:
    """Move what agents have that are stopped or in error to another agent or onto the backlog."""
    return await call.command(
        reclaim,
        Reclaimed,
        sources=(body.agent,) if body.agent else (),
        receiver=body.to or None,
        to_backlog=body.to_backlog,
        orphan_tasks=body.orphan_tasks,
        cancel=body.cancel,
        delete=body.delete,
    )


@EXPLAIN.post("/v1/doctor", "agent.manage")
async def check_town(call: Call, body: Check) -> Checkup:
    """Check the machine and the town for problems, and say how to fix each."""
    return await call.command(doctor, Checkup, no_task=not body.task)
