"""``tt reserve``, ``reservations`` and ``release``: what agents are about to change."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import click
import msgspec
from tinytown.errors import Refused
from tinytown.model.ids import SUPERVISOR
from tinytown_cli.public import AGENT, CliContext, TownClient, TownCommand, pass_cli_context, table

from tinytown_git.commands.merge import write_notice
from tinytown_git.reservations import (
    RELEASED,
    RESERVATIONS_FIELD,
    RESERVED,
    Reservation,
    clean_paths,
    conflicts,
    describe,
    read_reservations,
    with_reservation,
    without_paths,
)
from tinytown_git.work import PLUGIN

_MOST_HOURS = 168


@click.command(
    cls=TownCommand,
    examples=["tt reserve src/api 'docs/*.md'", "tt reserve src/api --hours 1 --note 'new routes'"],
    scope="town.write",
)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--hours",
    type=click.FloatRange(0, _MOST_HOURS, min_open=True),
    default=4.0,
    show_default=True,
    help="For how long.",
)
@click.option("--note", default="", help="What for.")
@click.option("--agent", "agent_word", metavar="AGENT", type=AGENT, help="For this agent.  [default: you]")
@click.option("--anyway", is_flag=True, help="Also where another agent has reserved some of it.")
@pass_cli_context
def reserve(
    context: CliContext, paths: Sequence[str], hours: float, note: str, agent_word: str | None, anyway: bool
) -> None:
    """Tell others that you are about to change these paths, from the top of the repository.

    Nothing is locked: others see it in their prompts, in tt reservations, and when they reserve the same. It ends with the
    agent's task, with tt release, and after its time.
    """
    cleaned, now = clean_paths(paths), _now_ms()
    with context.open_town() as town:
        agent = _who(town, agent_word)
        there = _read(town, now)
        overlapping = conflicts(there, agent, cleaned)
        if overlapping and not anyway:
            raise Refused(
                f"reserved by {describe(overlapping[0], now)}",
                hint=f"ask: tt send {overlapping[0].agent} TEXT, or add --anyway",
                code="reserved",
            )
        task = town.caller.task_id if town.caller.is_agent else None
        new = Reservation(
            agent=agent, paths=cleaned, until_ms=now + int(hours * 3_600_000), task=task or "", note=note[:300]
        )
        if town.caller.is_agent:
            members = {
                "paths": "\n".join(new.paths), "until_ms": str(new.until_ms), "task": new.task, "note": new.note
            }  # fmt: skip
            town.run(town.operations.emit(RESERVED, members))
        else:
            _change(town, lambda found: with_reservation(found, new))
    lines = [f"reserved for {agent}: {', '.join(cleaned)}"]
    lines += [f"also reserved by {describe(each, now)}" for each in overlapping]
    context.emit({**_shape(new), "overlapping": [_shape(each) for each in overlapping]}, lines)


@click.command(cls=TownCommand, examples=["tt reservations", "tt reservations src/api"], scope="town.read")
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@pass_cli_context
def reservations(context: CliContext, paths: Sequence[str]) -> None:
    """List what is reserved, all or what overlaps with these paths."""
    now = _now_ms()
    with context.open_town() as town:
        found = _read(town, now)
    shown = conflicts(found, "", clean_paths(paths)) if paths else list(found)
    rows = [(each.agent, describe(each, now).partition("(")[2].partition(")")[0], ", ".join(each.paths), each.note)
            for each in shown]  # fmt: skip
    lines = table(("agent", "left", "paths", "notes"), rows) if rows else ["nothing is reserved"]
    context.emit({"reservations": [_shape(each) for each in shown]}, lines)


@click.command(
    cls=TownCommand, examples=["tt release src/api", "tt release", "tt release --agent ada"], scope="town.write"
)
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@click.option("--agent", "agent_word", metavar="AGENT", type=AGENT, help="Of this agent.  [default: you]")
@pass_cli_context
def release(context: CliContext, paths: Sequence[str], agent_word: str | None) -> None:
    """End reservations before their time: of these paths, or all of your own."""
    cleaned = clean_paths(paths) if paths else ()
    with context.open_town() as town:
        agent = _who(town, agent_word)
        if town.caller.is_agent:
            town.run(town.operations.emit(RELEASED, {"paths": "\n".join(cleaned)}))
            left = list(without_paths(_read(town, _now_ms()), agent, cleaned))
        else:
            left = _change(town, lambda found: without_paths(found, agent, cleaned))
    mine = [each for each in left if each.agent == agent]
    context.emit(
        {"agent": agent, "reservations": [_shape(each) for each in mine]},
        f"{agent} has reserved {', '.join(path for each in mine for path in each.paths) or 'nothing'} now",
    )


def _who(town: TownClient, agent_word: str | None) -> str:
    """Whose reservations are meant. Raises: Refused for an agent that means another one."""
    caller = town.caller
    own = caller.agent_name or SUPERVISOR
    if agent_word is None:
        return own
    agent = town.run(town.operations.agent(agent_word)).name
    if agent != own:
        caller.refuse_agents("may not reserve or release for others", "leave out --agent")
    return agent


def _read(town: TownClient, now_ms: int) -> tuple[Reservation, ...]:
    return read_reservations(town.run(town.operations.plugin_field(PLUGIN, RESERVATIONS_FIELD)), now_ms)


def _change(town: TownClient, changed: Callable[[Sequence[Reservation]], Sequence[Reservation]]) -> list[Reservation]:
    while True:
        kept = town.run(town.operations.plugin_field(PLUGIN, RESERVATIONS_FIELD))
        after = changed(read_reservations(kept, _now_ms()))
        value: Any = msgspec.to_builtins(after) or None
        if town.run(town.operations.set_plugin_field(PLUGIN, RESERVATIONS_FIELD, value, expected=kept)):
            write_notice(town)
            return list(after)


def _shape(reservation: Reservation) -> dict[str, Any]:
    return {
        "agent": reservation.agent,
        "paths": list(reservation.paths),
        "until_ms": reservation.until_ms,
        "task": reservation.task or None,
        "note": reservation.note or None,
    }


def _now_ms() -> int:
    return int(time.time() * 1000)
