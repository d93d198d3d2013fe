"""``tt-bd merge-slot``: one agent at a time resolves conflicts. A value of the town that changes by comparing."""

from __future__ import annotations

from typing import Any

import click
import msgspec
from tinytown.errors import Refused, UsageError
from tinytown_cli.public import TownClient

from tinytown_gastown.bd.board import cli_context
from tinytown_gastown.bd.inputs import actor_of
from tinytown_gastown.bd.output import Output, common_options, pass_output
from tinytown_gastown.bd.wisps import DATA

_FIELD = "slot.merge"
_TRIES = 20


class Slot(msgspec.Struct, frozen=True):
    """Who has the slot, '' for nobody, and who waits for it."""

    holder: str = ""
    waiters: tuple[str, ...] = ()


def _read(town: TownClient) -> tuple[Slot, Any]:
    value = town.run(town.operations.plugin_field(DATA, _FIELD))
    try:
        return msgspec.convert(value or {}, Slot), value
    except msgspec.ValidationError:
        return Slot(), value


def _write(town: TownClient, slot: Slot, before: Any) -> bool:
    """Whether the slot was still as it was read."""
    return bool(town.run(town.operations.set_plugin_field(DATA, _FIELD, msgspec.to_builtins(slot), expected=before)))


def _id(town: TownClient) -> str:
    return f"{town.config.name}-merge-slot"


@click.group("merge-slot")
@common_options
def merge_slot() -> None:
    """The slot for merging, which one agent has at a time."""


@merge_slot.command("create")
@common_options
@pass_output
def create(out: Output) -> None:
    """Has no effect: every town has the slot."""
    with cli_context(out.directory).open_town() as town:
        slot, _ = _read(town)
        id_ = _id(town)
    out.answer({"id": id_, "status": "in_progress" if slot.holder else "open"}, f"✓ Merge slot: {id_}")


@merge_slot.command("check")
@common_options
@pass_output
def check(out: Output) -> None:
    """Show who has the slot."""
    with cli_context(out.directory).open_town() as town:
        slot, _ = _read(town)
        id_ = _id(town)
    answer = {
        "id": id_,
        "available": not slot.holder,
        "holder": slot.holder or None,
        "waiters": list(slot.waiters) or None,
    }
    out.answer(answer, f"Merge slot held: {id_}, by {slot.holder}" if slot.holder else f"✓ Merge slot available: {id_}")


@merge_slot.command("acquire")
@click.option("--holder", default="", help="Who takes it.  [default: the actor]")
@click.option("--wait", is_flag=True, help="If it is taken, wait in line: be named as a waiter.")
@common_options
@pass_output
def acquire(out: Output, holder: str, wait: bool) -> None:
    """Take the slot; exits with 1 if it is taken."""
    out.refuse_readonly()
    with cli_context(out.directory).open_town() as town:
        taker, id_ = holder or actor_of(out, town), _id(town)
        for _ in range(_TRIES):
            slot, before = _read(town)
            if slot.holder and slot.holder != taker:
                waiters = slot.waiters if not wait or taker in slot.waiters else (*slot.waiters, taker)
                if waiters == slot.waiters or _write(town, Slot(slot.holder, waiters), before):
                    answer = {"id": id_, "acquired": False, "holder": slot.holder, "waiting": taker in waiters}
                    out.answer(answer, f"Merge slot held by {slot.holder}")
                    raise click.exceptions.Exit(1)
                continue
            left = tuple(waiter for waiter in slot.waiters if waiter != taker)
            if _write(town, Slot(taker, left), before):
                out.answer({"id": id_, "acquired": True, "holder": taker}, f"✓ Acquired merge slot: {id_} for {taker}")
                return
    raise Refused("the slot changes faster than it can be taken", hint="try again")


@merge_slot.command("release")
@click.option("--holder", default="", help="Who gives it back.  [default: whoever has it]")
@common_options
@pass_output
def release(out: Output, holder: str) -> None:
    """Give the slot back."""
    out.refuse_readonly()
    with cli_context(out.directory).open_town() as town:
        slot, before = _read(town)
        if holder and slot.holder and holder != slot.holder:
            raise UsageError(f"slot held by {slot.holder}, not {holder[:60]}")
        if not _write(town, Slot("", slot.waiters), before):
            raise Refused("the slot changed meanwhile", hint="try again")
        id_ = _id(town)
    following = f", next in line: {slot.waiters[0]}" if slot.waiters else ""
    out.answer({"id": id_, "released": True}, f"✓ Released merge slot: {id_}{following}")
