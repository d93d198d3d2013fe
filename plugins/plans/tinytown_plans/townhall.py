"""What the plugin adds to the townhall: the plan, pushed and pulled. Made for the contracts of `tinytown_townhall`, which need
not be installed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import msgspec
from tinytown.town import Town
from tinytown_cli.public import answer_command

from tinytown_plans.plan_command import plan
from tinytown_plans.sync_command import sync


class Caller(Protocol):
    """Who sends a request, and the town that it is about."""

    @property
    def town(self) -> Town: ...


class PlannedTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task of the plan; `agent` is null for the backlog."""

    id: str
    title: str
    description: str
    status: str
    priority: str
    agent: str | None
    needs: Sequence[str]


class PlanView(msgspec.Struct, frozen=True, kw_only=True):
    """The plan in tasks.toml. Each of the `stages` needs only earlier ones."""

    file: str
    description: str
    default_agent: str | None
    stages: Sequence[Sequence[str]]
    tasks: Sequence[PlannedTask]


class Sync(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether the plan is pushed to the town, or progress pulled into the plan, with `new` also tasks that it lacks.

    With `dry_run` nothing is changed.
    """

    direction: Literal["push", "pull"] = "push"
    new: bool = False
    dry_run: bool = False


class SyncedTask(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a task, and which of its members changed."""

    id: str
    outcome: str
    changes: Sequence[str]
    reason: str


class Synced(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, in counts and task by task."""

    direction: str
    file: str
    dry_run: bool
    created: int
    updated: int
    unchanged: int
    skipped: int
    tasks: Sequence[SyncedTask]


class Route(NamedTuple):
    """A route of the townhall."""

    method: str
    path: str
    scope: str
    function: Callable[..., Awaitable[Any]]


async def show_plan(call: Caller) -> PlanView:
    """The plan in tasks.toml, in the order in which it can be done."""
    return await answer_command(plan, call.town.root, PlanView, init=False, file=None)


async def sync_plan(call: Caller, body: Sync) -> Synced:
    """Push the plan to the town, or pull progress back into the plan."""
    given = {"direction": body.direction, "new": body.new, "dry_run": body.dry_run}
    return await answer_command(sync, call.town.root, Synced, file=None, **given)


class PlansExtension:
    """The plan over HTTP and for models."""

    name = "plans"
    panels = ()
    page = None
    routes = (
        Route("GET", "/v1/plan", "town.read", show_plan),
        Route("POST", "/v1/plan/sync", "town.write", sync_plan),
    )

    async def waiting(self, town: Town) -> Sequence[object]:
        """A plan waits for nobody."""
        return ()
