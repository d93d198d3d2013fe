"""The town as a whole: status, costs, freezing, probes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

import msgspec
from starlette.responses import Response
from tinytown import __version__
from tinytown.errors import TinytownError
from tinytown.redis import address_of
from tinytown_cli import administration
from tinytown_ops.costs import ledger
from tinytown_ops.costs.ledger import Account, By, Costs

from tinytown_townhall.attention import Attention
from tinytown_townhall.event_stream import EventStream, sse
from tinytown_townhall.extensions import PanelView
from tinytown_townhall.routing import Call, Endpoints, json_response
from tinytown_townhall.views import HostView, Reason, TownStatus, agent_view, host_view

TOWN = Endpoints("town")


class Town(msgspec.Struct, frozen=True, kw_only=True):
    """What the town is."""

    name: str
    root: str
    version: str
    redis_url: str


class Hosts(msgspec.Struct, frozen=True, kw_only=True):
    """The kernels of the town."""

    hosts: Sequence[HostView]


class Accounts(msgspec.Struct, frozen=True, kw_only=True):
    """Accounts that agents share with their vendors."""

    accounts: tuple[Account, ...]


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """Whether anything changed."""

    changed: bool


class Panels(msgspec.Struct, frozen=True, kw_only=True):
    """Views of plugins, in the order of the navigation."""

    panels: Sequence[PanelView]


class NeedsAttention(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for a person, the most pressing first."""

    items: Sequence[Attention]


class CostsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How costs are grouped, and since which day in UTC."""

    by: By = "town"
    since: str = ""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The process answers."""

    status: Literal["ok"]
    uptime_secs: float


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the town's server answers."""

    status: Literal["ready", "not_ready"]
    redis: Literal["connected", "disconnected"]
    redis_latency_ms: float | None = None
    detail: str = ""


class Scaling(msgspec.Struct, frozen=True, kw_only=True):
    """How much there is to do, for what starts and stops kernels."""

    town: str
    queue_depth: int
    pending_tasks: int
    in_flight_tasks: int
    active_agents: int
    cold_agents: int
    hosts: int
    capacity: int


@TOWN.get("/health", None)
async def health(call: Call) -> Health:
    """Says that this process answers."""
    return Health(status="ok", uptime_secs=round(time.monotonic() - call.hall.began, 1))


@TOWN.get("/ready", None)
async def ready(call: Call) -> Readiness:
    """Says whether the town's server answers; with status 503 if it does not."""
    began = time.perf_counter()
    try:
        await call.run(call.town.operations.hosts())
    except TinytownError as error:
        gone = Readiness(status="not_ready", redis="disconnected", detail=error.code)
        return json_response(gone, status=503)  # type: ignore[return-value]
    latency_ms = round((time.perf_counter() - began) * 1000, 3)
    return Readiness(status="ready", redis="connected", redis_latency_ms=latency_ms)


@TOWN.get("/v1/town")
async def show_town(call: Call) -> Town:
    """What the town is."""
    town = call.town
    return Town(
        name=town.name,
        root=str(town.root),
        version=__version__,
        redis_url=address_of(town.root, town.config).redacted,
    )


@TOWN.get("/v1/status")
async def show_status(call: Call) -> TownStatus:
    """The whole town in one answer."""
    town = call.town
    position = town.position.value
    seen = await call.hall.status.value()
    return TownStatus(
        town=town.name,
        root=str(town.root),
        version=__version__,
        redis_url=address_of(town.root, town.config).redacted,
        kernel_running=bool(seen.hosts),
        frozen=seen.frozen,
        hosts=[host_view(host) for host in seen.hosts],
        agents=[agent_view(agent) for agent in seen.agents],
        agent_count=len(seen.agents),
        tasks=seen.tasks,
        backlog=seen.backlog,
        dead=seen.dead,
        supervisor_inbox=seen.supervisor_mail,
        position=position,
    )


@TOWN.get("/v1/attention")
async def show_attention(call: Call) -> NeedsAttention:
    """What waits for a person, the most pressing first: questions, tasks on hold, agents in error, dead letters and the like."""
    return NeedsAttention(items=await call.hall.live.read_attention())


@TOWN.get("/v1/live", media_type="text/event-stream")
async def follow_live(call: Call) -> Response:
    """What the web page shows, as server-sent events: ``town`` with the whole picture, then ``change`` with what is new.

    An event ``beat`` comes when nothing else did for 20 s."""
    return EventStream(call.hall.live.follow, call.hall.closing, beat=sse(b"null", event="beat"))


@TOWN.post("/v1/town/freeze")
async def freeze_town(call: Call, body: Reason) -> Changed:
    """Freeze every running process of the town, and start nothing until it is thawed."""
    return Changed(
        changed=await call.run(administration.freeze(call.town.operations.keys, reason=body.reason or call.asker))
    )


@TOWN.post("/v1/town/thaw")
async def thaw_town(call: Call, body: Reason) -> Changed:
    """Continue a frozen town."""
    return Changed(
        changed=await call.run(administration.thaw(call.town.operations.keys, reason=body.reason or call.asker))
    )


@TOWN.post("/v1/town/start", status=202)
async def start_kernel(call: Call) -> None:
    """Start a kernel in the background if none runs on this machine."""
    await call.hall.start_kernel()


@TOWN.get("/v1/hosts")
async def list_hosts(call: Call) -> Hosts:
    """The kernels of the town, on all machines."""
    return Hosts(hosts=[host_view(host) for host in await call.run(call.town.operations.hosts())])


@TOWN.get("/v1/costs")
async def show_costs(call: Call, query: CostsQuery) -> Costs:
    """What rounds cost, and what is left of the budgets."""
    return await call.run(ledger.costs(call.town.operations.keys, by=query.by, since=query.since))


@TOWN.get("/v1/accounts")
async def list_accounts(call: Call) -> Accounts:
    """Accounts that agents use or that are rate limited."""
    return Accounts(accounts=await call.run(ledger.accounts(call.town.operations.keys)))


@TOWN.post("/v1/accounts/{account}/release", "agent.manage")
async def release_account(call: Call, account: str, body: Reason) -> Changed:
    """Let the agents of a rate-limited account work again before its time is over."""
    from tinytown_cli import administration

    operation = administration.unpark_account(call.town.operations.keys, account, reason=body.reason or call.asker)
    return Changed(changed=await call.run(operation))


@TOWN.get("/v1/panels", is_tool=False)
async def list_panels(call: Call) -> Panels:
    """The views that plugins add to the web page."""
    return Panels(panels=call.hall.extensions.panels)


@TOWN.get("/api/scaling", is_tool=False)
async def show_scaling(call: Call) -> Scaling:
    """How much there is to do, for what starts and stops kernels."""
    seen = await call.town.status()
    waiting = sum(agent.mail.tasks for agent in seen.agents)
    working = seen.tasks.get("running", 0) + seen.tasks.get("verifying", 0)
    cold = sum(agent.state in ("suspended", "stopped") for agent in seen.agents)
    return Scaling(
        town=call.town.name,
        queue_depth=seen.backlog + waiting + working,
        pending_tasks=seen.backlog + waiting,
        in_flight_tasks=working,
        active_agents=len(seen.agents) - cold,
        cold_agents=cold,
        hosts=len(seen.hosts),
        capacity=sum(host.capacity for host in seen.hosts),
    )
