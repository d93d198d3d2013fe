"""The operation behind ``tt reclaim`` and ``tt prune``, with a function library of its own. Pure, no IO."""

from __future__ import annotations

from pathlib import Path

import msgspec
from tinytown.model.ids import new_id
from tinytown.protocol import FunctionLibrary, Keys, Operation, Reply, function_call

LIBRARY = FunctionLibrary("ops", Path(__file__).with_name("reclaim.lua"), extends="town")


class Reclaimed(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken from an agent: ids of its tasks, of its messages, and of the tasks made of its orders in free text."""

    tasks: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()
    made: tuple[str, ...] = ()


def reclaim_from(
    keys: Keys, agent: str, *, tasks_to: str | None = None, mail_to: str | None = None
) -> Operation[Reclaimed]:
    """Give what an agent has to another, or to the backlog (``""``); what it works on at that moment stays with it.

    `tasks_to` gets its open tasks, `mail_to` its mail; None leaves them. With ``""`` for mail, orders in free text become tasks
    of the backlog, and other mail stays.
    """

    def decode(reply: Reply) -> Reclaimed:
        tasks, messages, made = (tuple(id_.decode() for id_ in ids) for ids in reply)
        return Reclaimed(tasks=tasks, messages=messages, made=made)

    receivers = ["" if to is None else to or "-" for to in (tasks_to, mail_to)]
    return function_call(LIBRARY, "agent_reclaim", keys.base, decode, new_id(), agent, *receivers)
