"""What the plugin adds to the townhall: groups of tasks. Made for the contracts of `tinytown_townhall`, which need not be
installed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec
from tinytown.town import Town
from tinytown_cli.public import answer_command

from tinytown_beads.groups import commands


class Caller(Protocol):
    """Who sends a request, and the town that it is about."""

    @property
    def town(self) -> Town: ...


class GroupMember(msgspec.Struct, frozen=True, kw_only=True):
    """A task of a group; ``gone`` is the state of one that was deleted."""

    task_id: str
    state: str
    title: str | None = None


class GroupView(msgspec.Struct, frozen=True, kw_only=True):
    """A group and how far it is; `failing` are the tasks that keep it open."""

    name: str
    state: str
    owner: str
    notify: Sequence[str]
    description: str
    total: int
    completed: int
    counts: Mapping[str, int]
    failing: Sequence[str]
    created_at: str
    completed_at: str | None
    closed_at: str | None
    reason: str
    members: Sequence[GroupMember]


class GroupQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """With `all`, closed ones, too."""

    all: bool = False


class Groups(msgspec.Struct, frozen=True, kw_only=True):
    """Groups of tasks."""

    groups: Sequence[GroupView]


class NewGroup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group to make; its `owner`, by default the supervisor, and those in `notify` are notified of its progress."""

    name: str
    tasks: tuple[str, ...] = ()
    owner: str = ""
    notify: tuple[str, ...] = ()
    description: str = ""


class Members(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tasks by their ids."""

    tasks: tuple[str, ...]


class Closing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group that is not completed is closed with `force` only."""

    reason: str = ""
    force: bool = False


class Route(NamedTuple):
    """A route of the townhall."""

    method: str
    path: str
    scope: str
    function: Callable[..., Awaitable[Any]]


async def list_groups(call: Caller, query: GroupQuery) -> Groups:
    """The groups of tasks, with their progress."""
    return await answer_command(commands.list_groups, call.town.root, Groups, everything=query.all)


async def show_group(call: Caller, group: str) -> GroupView:
    """One group with its tasks."""
    return await answer_command(commands.status, call.town.root, GroupView, name=group)


async def create_group(call: Caller, body: NewGroup) -> GroupView:
    """Make a group of tasks that belong together."""
    given = {"tasks": body.tasks, "owner": body.owner or None, "notify": body.notify, "description": body.description}
    return await answer_command(commands.create, call.town.root, GroupView, name=body.name, **given)


async def add_to_group(call: Caller, group: str, body: Members) -> GroupView:
    """Add tasks to a group."""
    return await answer_command(commands.add, call.town.root, GroupView, name=group, tasks=body.tasks)


async def remove_from_group(call: Caller, group: str, body: Members) -> GroupView:
    """Take tasks out of a group; the tasks stay."""
    return await answer_command(commands.remove, call.town.root, GroupView, name=group, tasks=body.tasks)


async def close_group(call: Caller, group: str, body: Closing) -> GroupView:
    """Close a group: its notices end, its tasks stay as they are."""
    given = {"reason": body.reason, "force": body.force}
    return await answer_command(commands.close, call.town.root, GroupView, name=group, **given)


class GroupsExtension:
    """Groups over HTTP and for models."""

    name = "groups"
    panels = ()
    page = None
    routes = (
        Route("GET", "/v1/groups", "town.read", list_groups),
        Route("POST", "/v1/groups", "town.write", create_group),
        Route("GET", "/v1/groups/{group}", "town.read", show_group),
        Route("POST", "/v1/groups/{group}/add", "town.write", add_to_group),
        Route("POST", "/v1/groups/{group}/remove", "town.write", remove_from_group),
        Route("POST", "/v1/groups/{group}/close", "town.write", close_group),
    )

    async def waiting(self, town: Town) -> Sequence[object]:
        """Groups need no person's action: their owners get mail."""
        return ()
