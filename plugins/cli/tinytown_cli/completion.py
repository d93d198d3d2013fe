"""What the shell completes a word to: the names and ids that exist now, each with a short description.

Starts nothing: without a server that answers there are no names. Each function takes the click context of the command line
typed so far, and may raise: then nothing is offered. Plugins add completers by `tinytown_completers`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import TypeAlias, cast

import click
from tinytown.config import Config, load_config
from tinytown.entry_points import installed
from tinytown.errors import NotFound
from tinytown.model.events import EVENT_TYPES, MessageSent
from tinytown.redis import address_of, town_server
from tinytown_prompts.roles import load_roles

from tinytown_cli.blocking_client import BlockingClient
from tinytown_cli.client import TownClient
from tinytown_cli.command_index import blocked_by_environment, contributions
from tinytown_cli.command_table import load
from tinytown_cli.context import CliContext

CompleterFunction: TypeAlias = Callable[[click.Context], Iterable[tuple[str, str]]]

_TIMEOUT_S = 2.0
_LIMIT = 200


def find_completer(name: str) -> CompleterFunction:
    """The completer of this name: one of this module, else one of a plugin. Raises: NotFound, and what importing it raises."""
    if name in _COMPLETERS:
        return _COMPLETERS[name]
    for completer in contributions(blocked_by_environment()).completers:
        if completer.name == name:
            return cast(CompleterFunction, load(completer.target))
    raise NotFound(f"no completer {name!r}")


@contextmanager
def running_town(ctx: click.Context) -> Generator[TownClient]:
    """The town of the command line, if its server is running. Raises: NotFound, and what connecting raises."""
    root = ctx.ensure_object(CliContext).town_root()
    config = load_config(root)
    server = town_server(root, config)
    if server is not None and not server.ping():
        raise NotFound("the town's server is not running")
    with BlockingClient(address_of(root, config), timeout_s=_TIMEOUT_S) as client:
        yield TownClient(root, config, client)


def _agents(ctx: click.Context) -> Iterable[tuple[str, str]]:
    with running_town(ctx) as town:
        agents = town.run(town.operations.agents())
    return [(agent.name, f"{agent.state}, {agent.role or agent.cli}") for agent in agents]


def _tasks(ctx: click.Context) -> Iterable[tuple[str, str]]:
    with running_town(ctx) as town:
        tasks = town.run(town.operations.tasks(limit=_LIMIT))
    return [(task.id, f"{task.state}: {task.headline}") for task in tasks]


def _messages(ctx: click.Context) -> Iterable[tuple[str, str]]:
    with running_town(ctx) as town:
        events = town.run(town.operations.latest_events(_LIMIT))
    return [
        (event.message, f"{event.sender} -> {event.recipient}, {event.category}")
        for event in reversed(events)
        if isinstance(event, MessageSent)
    ]


def _tags(ctx: click.Context) -> Iterable[tuple[str, str]]:
    with running_town(ctx) as town:
        agents, tasks = town.run_all([town.operations.agents(), town.operations.tasks(limit=_LIMIT)])
    return [(tag, "") for tag in sorted({tag for tagged in (*agents, *tasks) for tag in tagged.tags})]


def _kinds(ctx: click.Context) -> Iterable[tuple[str, str]]:
    """The kinds that running kernels have; without a kernel, the configured ones and the names of plugins."""
    try:
        with running_town(ctx) as town:
            hosts = town.run(town.operations.status(agents=False)).hosts
            running = {kind: f"on {host.name}" for host in hosts for kind in host.backends}
            configured = dict.fromkeys(town.config.agent_clis, "configured")
    except Exception:
        running, configured = {}, {}
    return sorted((running or {name: "plugin" for name, _ in _plugins(ctx)} | configured).items())


def _roles(ctx: click.Context) -> Iterable[tuple[str, str]]:
    """The roles of the town; outside of a town the built-in ones."""
    try:
        config = load_config(ctx.ensure_object(CliContext).town_root())
    except NotFound:
        config = Config(name="nowhere")
    return [(role.name, role.purpose) for role in load_roles(config).values()]


def _event_types(_ctx: click.Context) -> Iterable[tuple[str, str]]:
    return [(type_, "") for type_ in EVENT_TYPES]


def _dead_letters(ctx: click.Context) -> Iterable[tuple[str, str]]:
    with running_town(ctx) as town:
        from tinytown_cli import administration

        letters = town.run(administration.dead_letters(town.operations.keys, limit=_LIMIT))
    return [*((letter.id, f"to {letter.agent}: {letter.reason}") for letter in letters), ("all", "all of them")]


def _rounds(ctx: click.Context) -> Iterable[tuple[str, str]]:
    from tinytown_cli import administration

    with running_town(ctx) as town:
        rounds = town.run(administration.rounds(town.operations.keys, limit=_LIMIT))
    return [(record.round_id, f"{record.agent}, {record.outcome}, {record.ended_at}") for record in rounds]


def _plugins(_ctx: click.Context) -> Iterable[tuple[str, str]]:
    return [(entry.name, entry.value) for entry in installed("tinytown")]


_COMPLETERS: dict[str, CompleterFunction] = {
    "agents": _agents,
    "tasks": _tasks,
    "messages": _messages,
    "tags": _tags,
    "kinds": _kinds,
    "roles": _roles,
    "event_types": _event_types,
    "dead_letters": _dead_letters,
    "rounds": _rounds,
    "plugins": _plugins,
}
