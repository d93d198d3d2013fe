"""What the shell may complete a word to: names and ids that there are at this moment, each with a word about it.

Starts nothing: where no server answers at once there are no names. Each function takes the context of the command line as far as
it has been typed, and may raise; whoever asks takes that for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import TypeAlias

import click
from tinytown.client import TownClient, town_root
from tinytown.config import RUNTIME_DIRECTORY, Config, load_config
from tinytown.errors import NotFound
from tinytown.model.events import EVENT_TYPES, MessageSent
from tinytown.redis.blocking_client import BlockingClient
from tinytown.redis.locate import address_of
from tinytown.roles import load_roles
from tinytown_ops.coding_clis import CODING_CLIS
from tinytown_ops.costs import ledger
from tinytown_server.server import EmbeddedServer

from tinytown_cli.context import CliContext

Near: TypeAlias = Callable[[click.Context], Iterable[tuple[str, str]]]

_PATIENCE_S = 2.0
_MANY = 200


@contextmanager
def _town(ctx: click.Context) -> Generator[TownClient]:
    """The town, if its server is there already."""
    root = town_root(ctx.ensure_object(CliContext))
    config = load_config(root)
    if config.redis.url is None and not EmbeddedServer(root / RUNTIME_DIRECTORY).ping():
        raise NotFound("the town's server does not run")
    with BlockingClient(address_of(root, config), timeout_s=_PATIENCE_S) as client:
        yield TownClient(root, config, client)


def agents(ctx: click.Context) -> Iterable[tuple[str, str]]:
    """Names of agents, with their state."""
    with _town(ctx) as town:
        found = town.run(town.operations.agents())
    return [(each.name, f"{each.state}, {each.role or each.cli}") for each in found]


def tasks(ctx: click.Context) -> Iterable[tuple[str, str]]:
    """Ids of the newest tasks, with what they are about."""
    with _town(ctx) as town:
        found = town.run(town.operations.tasks(limit=_MANY))
    return [(each.id, f"{each.state}: {each.headline}") for each in found]


def messages(ctx: click.Context) -> Iterable[tuple[str, str]]:
    """Ids of the latest messages, with who sent them to whom."""
    with _town(ctx) as town:
        found = town.run(town.operations.latest_events(_MANY))
    return [
        (each.message, f"{each.sender} -> {each.recipient}, {each.category}")
        for each in reversed(found)
        if isinstance(each, MessageSent)
    ]


def tags(ctx: click.Context) -> Iterable[tuple[str, str]]:
    """Tags of agents and of the newest tasks."""
    with _town(ctx) as town:
        found = town.run_all([town.operations.agents(), town.operations.tasks(limit=_MANY)])
    return [(tag, "") for tag in sorted({tag for bearers in found for each in bearers for tag in each.tags})]


def kinds(ctx: click.Context) -> Iterable[tuple[str, str]]:
    """Kinds of agents: what kernels have, else what is configured and named like an installed plugin."""
    try:
        with _town(ctx) as town:
            hosts = town.run(town.operations.status(agents=False)).hosts
            found = {kind: f"on {host.name}" for host in hosts for kind in host.backends}
            configured = dict.fromkeys(town.config.agent_clis, "configured")
    except Exception:
        found, configured = {}, {}
    return sorted((found or {name: "plugin" for name, _ in plugins(ctx)} | configured).items())


def roles(ctx: click.Context) -> Iterable[tuple[str, str]]:
    """Roles, with what they are for; outside of a town those that every town knows."""
    try:
        config = load_config(town_root(ctx.ensure_object(CliContext)))
    except NotFound:
        config = Config(name="nowhere")
    return [(each.name, each.purpose) for each in load_roles(config).values()]


def event_types(_ctx: click.Context) -> Iterable[tuple[str, str]]:
    """Types of events that the town itself has."""
    return [(each, "") for each in EVENT_TYPES]


def letters(ctx: click.Context) -> Iterable[tuple[str, str]]:
    """Ids of dead letters, with why each was given up."""
    with _town(ctx) as town:
        found = town.run(town.operations.dead_letters(limit=_MANY))
    return [*((each.id, f"to {each.agent}: {each.reason}") for each in found), ("all", "all of them")]


def accounts(ctx: click.Context) -> Iterable[tuple[str, str]]:
    """Accounts, with whether they are throttled."""
    with _town(ctx) as town:
        found = town.run(ledger.accounts(town.operations.keys))
    return [(each.name, f"parked until {each.parked_until}" if each.parked_until else "free") for each in found]


def rounds(ctx: click.Context) -> Iterable[tuple[str, str]]:
    """Ids of the latest rounds."""
    with _town(ctx) as town:
        found = town.run(town.operations.rounds(limit=_MANY))
    return [(each.round_id, f"{each.agent}, {each.outcome}, {each.ended_at}") for each in found]


def plugins(_ctx: click.Context) -> Iterable[tuple[str, str]]:
    """Names of installed plugins."""
    return sorted((each.name, each.value) for each in entry_points(group="tinytown"))


def coding_clis(_ctx: click.Context) -> Iterable[tuple[str, str]]:
    """Coding CLIs that a person may talk with."""
    return [(each.name, each.program) for each in CODING_CLIS]
