"""``tt estop`` and ``tt thaw``: suspend every running process of a town, on every host, and resume it."""

from __future__ import annotations

import time
from typing import Any

import click
from tinytown.model.events import HostFroze
from tinytown.model.results import Host
from tinytown.model.text import counted

from tinytown_cli import administration
from tinytown_cli.client import TownClient
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.params import read_text
from tinytown_cli.serializers import freeze_shape

_ANSWER_S = 3.0


@click.command(cls=TownCommand, examples=["tt estop", "tt estop --reason 'unexpected costs'"])
@click.option("--reason", default="", metavar="TEXT", help="The reason; - reads standard input.")
@pass_cli_context
def estop(context: CliContext, reason: str) -> None:
    """Emergency stop: freeze every running process of the town, on every host, and start nothing until tt thaw.

    No work is lost, and timeouts do not count frozen time. Kernels that start later are frozen too.
    """
    with context.open_town() as town:
        cursor = town.cursor()
        is_new = town.run(administration.freeze(town.operations.keys, reason=read_text(reason) or _requested_by(town)))
        hosts = _await_hosts(town, cursor)
        seen = town.run(town.operations.status())
    working = [agent.name for agent in seen.agents if agent.state == "working"]
    shape = {
        "frozen": freeze_shape(seen.frozen),
        "was_frozen": not is_new,
        "hosts": [{"name": host.name, "commands": host.frozen} for host in hosts],
        "commands": sum(host.frozen or 0 for host in hosts),
        "agents": working,
    }
    context.emit(shape, _lines(shape, hosts))


def _requested_by(town: TownClient) -> str:
    return f"requested by {town.caller.agent_name or town.caller.address}"


def _await_hosts(town: TownClient, cursor: str) -> tuple[Host, ...]:
    """The kernels, once all of them have reported what they froze, or after `_ANSWER_S`."""
    until = time.monotonic() + _ANSWER_S
    hosts = town.run(town.operations.hosts())
    while any(host.frozen is None for host in hosts) and time.monotonic() < until:
        for batch in town.follow(cursor, until=until):
            cursor = batch[-1].id if batch else cursor
            if any(isinstance(event, HostFroze) for event in batch):
                break
        hosts = town.run(town.operations.hosts())
    return hosts


def _lines(shape: dict[str, Any], hosts: tuple[Host, ...]) -> list[str]:
    verb = "was already frozen" if shape["was_frozen"] else "is frozen"
    what = (
        f"{counted(shape['commands'], 'command')} stopped on {counted(len(hosts), 'host')}"
        if hosts
        else "no kernel is running"
    )
    lines = [f"the town {verb}: {what}; resume it with: tt thaw"]
    if shape["agents"]:
        lines.append(f"frozen within a round: {', '.join(shape['agents'])}")
    return lines + [
        f"the kernel on {host.name} (process {host.pid}) did not answer within {_ANSWER_S:g} s"
        for host in hosts
        if host.frozen is None
    ]


@click.command(cls=TownCommand, examples=["tt thaw"])
@click.option("--reason", default="", metavar="TEXT", help="The reason; - reads standard input.")
@pass_cli_context
def thaw(context: CliContext, reason: str) -> None:
    """Resume a frozen town: its processes continue where they stopped, with the time that they had left."""
    with context.open_town() as town:
        was_frozen = town.run(
            administration.thaw(town.operations.keys, reason=read_text(reason) or _requested_by(town))
        )
    context.emit({"was_frozen": was_frozen}, "the town is resumed" if was_frozen else "the town was not frozen")
