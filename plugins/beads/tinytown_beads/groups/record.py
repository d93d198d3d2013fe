"""The stored record of a group, one field of the plugin's data each. Pure; knows nothing of task states."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from tinytown.errors import NotFound, ProtocolViolation, UsageError

PLUGIN = "beads"
PREFIX = "group."

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class Group(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A named set of tasks. Times are RFC 3339 in UTC.

    `ended` has the finished members with their final state, which counts after retention has removed the task.
    `completions` counts how often the group was completed (a member may be reopened), `notified` for how many of these
    notices were sent (``told`` on the wire), `stuck` the failed members that a notice has named. `origin` belongs to
    whoever created the group; while ``made`` in it is false, its tasks are still being created.
    """

    name: str
    created_at: str
    owner: str = "supervisor"
    notify: tuple[str, ...] = ()
    description: str = ""
    tasks: tuple[str, ...] = ()
    state: Literal["open", "completed", "closed"] = "open"
    completed_at: str = ""
    closed_at: str = ""
    reason: str = ""
    ended: dict[str, str] = {}
    completions: int = 0
    notified: int = msgspec.field(name="told", default=0)
    stuck: tuple[str, ...] = ()
    origin: dict[str, Any] = {}

    @property
    def recipients(self) -> tuple[str, ...]:
        """The recipients of notices: the owner first, each once."""
        return tuple(dict.fromkeys((self.owner, *self.notify)))


def field_of(name: str) -> str:
    """The field of the plugin's data that holds the group `name`. Raises: UsageError for an illegal name."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"expected a group's name of 1 to 63 letters, digits, '.', '_' or '-', got {name[:80]!r}")
    return PREFIX + name


def as_value(group: Group) -> dict[str, Any]:
    """The group as the value of its field."""
    value: dict[str, Any] = msgspec.to_builtins(group)
    return value


def read_group(name: str, value: Any) -> Group:
    """The group in a field. Raises: NotFound if there is none; ProtocolViolation if the value is not a group."""
    if value is None:
        raise NotFound(f"no group called {name!r} in this town", hint="tt group list shows them")
    try:
        return msgspec.convert(value, Group)
    except msgspec.ValidationError as error:
        raise ProtocolViolation(f"what is kept of group {name!r} cannot be understood: {error}") from error


def groups_in(data: Mapping[str, Any]) -> tuple[Group, ...]:
    """The groups in the plugin's data, oldest first; invalid values are skipped."""
    groups: list[Group] = []
    for field, value in data.items():
        if field.startswith(PREFIX):
            try:
                groups.append(msgspec.convert(value, Group))
            except msgspec.ValidationError:
                continue  # one that a newer version wrote must not hide all the others
    return tuple(sorted(groups, key=lambda group: (group.created_at, group.name)))


def with_tasks(group: Group, added: Iterable[str] = (), removed: Iterable[str] = ()) -> Group:
    """The group with tasks added and removed; a completed one reopens if tasks are new."""
    gone = set(removed)
    tasks = tuple(dict.fromkeys(id_ for id_ in (*group.tasks, *added) if id_ not in gone))
    new = set(tasks) - set(group.tasks)
    ended = {id_: state for id_, state in group.ended.items() if id_ in tasks}
    state = "open" if new and group.state == "completed" else group.state
    return msgspec.structs.replace(group, tasks=tasks, ended=ended, state=state)


def now() -> str:
    """This machine's time."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
