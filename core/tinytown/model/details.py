"""The optional keywords with which tasks and messages are made, typed, and the error for one that is unknown. Pure.

Public functions take them as ``**details: Unpack[TaskDetails]``: a misspelt keyword is an error of the type checker, and at run
time one that names the public function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from tinytown.model.messages import Priority
from tinytown.model.tasks import TaskState


class AgentDetails(TypedDict, total=False):
    """What an agent has beside its name and kind; see `Agent`. Without a `nickname` it gets one that belongs to its id.
    `max_rounds` 0 is no limit. Only a host that has all of its `labels` takes it; ``host=NAME`` is a label of that machine."""

    role: str
    nickname: str
    parent: str
    tags: Sequence[str]
    max_rounds: int
    labels: Sequence[str]


class TaskDetails(TypedDict, total=False):
    """What a task has beside its description; see `Task`. `needs` are references to tasks; `held` is why it is held from the
    beginning, until `held_until` (RFC 3339); one that was `finished` elsewhere is made in that state."""

    title: str
    priority: Priority
    needs: Sequence[str]
    tags: Sequence[str]
    role: str
    parent: str
    held: str
    held_until: str
    task_id: str | None
    finished: TaskState | None
    origin: Mapping[str, Any] | None
    meta: Mapping[str, Any] | None


class TaskChanges(TypedDict, total=False):
    """What of a task is to be changed; see `Task`. None leaves a field as it is."""

    description: str | None
    title: str | None
    priority: Priority | None
    needs: Sequence[str] | None
    tags: Sequence[str] | None
    role: str | None
    parent: str | None


class MessageDetails(TypedDict, total=False):
    """What a message has beside its body. The same `message_id` twice is one message; it is delivered from `not_before_ms` on
    (ms since 1970, server time)."""

    sender: str
    priority: Priority
    message_id: str | None
    correlation_id: str | None
    not_before_ms: int


def check_keywords(function: str, kind: type[Any], details: Mapping[str, object]) -> None:
    """Raises: TypeError in the words of Python, naming the public `function`, for a keyword that the TypedDict `kind` lacks."""
    for name in details:
        if name not in kind.__annotations__:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")
