"""Sending a message that may answer another one; the first reply to a message is known by its id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tinytown.model.messages import Body
from tinytown.model.results import Sent
from tinytown.protocol import Operation, TownOperations

T = TypeVar("T")

_SUFFIX = ".answer"
_LONGEST_ID = 128


def answer_id(message_id: str) -> str | None:
    """The id of the first reply to a message; None for one whose own id leaves no room for it."""
    return message_id + _SUFFIX if len(message_id) + len(_SUFFIX) <= _LONGEST_ID else None


def answered_by(message_id: str) -> str:
    """The message that this one is the first reply to; empty for any other."""
    return message_id.removesuffix(_SUFFIX) if message_id.endswith(_SUFFIX) else ""


def send_reply(
    run: Callable[[Operation[Sent]], Sent],
    operations: TownOperations,
    to: str,
    body: Body,
    *,
    answers: str | None,
    **details: Any,
) -> Sent:
    """Send a message that `answers` another one, or none. `details` are those of `TownOperations.send`."""
    if answers and (first := answer_id(answers)):
        sent = run(operations.send(to, body, message_id=first, correlation_id=answers, **details))
        if sent.new:
            return sent
    return run(operations.send(to, body, correlation_id=answers or None, **details))
