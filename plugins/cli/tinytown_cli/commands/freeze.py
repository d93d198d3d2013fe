"""``tt estop`` and ``tt thaw``: everything that runs stands still at once, on every host, and goes on where it was."""

from __future__ import annotations

import time
from typing import Any

import click
from tinytown.client import TownClient
from tinytown.model.events import HostFroze
from tinytown.model.results import Host
from tinytown.model.text import counted
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.params import read_text
from tinytown_cli.serializers import freeze_shape

_ANSWER_S = 3.0


@click.command(cls=TownCommand, examples=["tt estop", "tt estop --reason 'the bill!'"])
@click.option("--reason", default="", metavar="TEXT", help="Why; - reads standard input.")
@pass_cli_context
def estop(context: CliContext, reason: str) -> None:
    """Freeze every running process of the town at once, on every host, and begin nothing, until tt thaw.

    Nothing is lost and nobody's time runs out meanwhile. Kernels that start later stand still too.
    """
    with context.open_town() as town:
        cursor = town.cursor()
        is_new = town.run(town.operations.freeze(reason=read_text(reason) or _asked_by(town)))
        hosts = _answers(town, cursor)
        seen = town.run(town.operations.status())
    working = [each.name for each in seen.agents if each.state == "working"]
    shape = {
        "frozen": freeze_shape(seen.frozen),
        "was_frozen": not is_new,
        "hosts": [{"name": each.name, "commands": each.frozen} for each in hosts],
        "commands": sum(each.frozen or 0 for each in hosts),
        "agents": working,
    }
    context.emit(shape, _lines(shape, hosts))


def _asked_by(town: TownClient) -> str:
    return f"asked by {town.caller.agent_name or town.caller.address}"


def _answers(town: TownClient, cursor: str) -> tuple[Host, ...]:
    """The kernels, once each has said what it has frozen, or when they have had their time."""
    until = time.monotonic() + _ANSWER_S
    hosts = town.run(town.operations.hosts())
    while any(each.frozen is None for each in hosts) and time.monotonic() < until:
        for batch in town.follow(cursor, until=until):
            cursor = batch[-1].id if batch else cursor
            if any(isinstance(event, HostFroze) for event in batch):
                break
        hosts = town.run(town.operations.hosts())
    return hosts


def _lines(shape: dict[str, Any], hosts: tuple[Host, ...]) -> list[str]:
    is_frozen = "was frozen already" if shape["was_frozen"] else "is frozen"
    what = (
        f"{counted(shape['commands'], 'command')} stopped on {counted(len(hosts), 'host')}"
        if hosts
        else "no kernel runs"
    )
    lines = [f"the town {is_frozen}: {what}; nothing is begun until tt thaw"]
    if shape["agents"]:
        lines.append(f"in the middle of a round: {', '.join(shape['agents'])}")
    return lines + [
        f"the kernel on {each.name}, process {each.pid}, has not answered within {_ANSWER_S:g} s"
        for each in hosts
        if each.frozen is None
    ]


@click.command(cls=TownCommand, examples=["tt thaw"])
@click.option("--reason", default="", metavar="TEXT", help="Why; - reads standard input.")
@pass_cli_context
def thaw(context: CliContext, reason: str) -> None:
    """Let a frozen town go on: what stood still takes up where it was, with the time that it had left."""
    with context.open_town() as town:
        was_frozen = town.run(town.operations.thaw(reason=read_text(reason) or _asked_by(town)))
    context.emit({"was_frozen": was_frozen}, "the town goes on" if was_frozen else "the town was not frozen")
