"""What the operations of all domains share: the town's keys, how a function is called, how arguments are packed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from tinytown.model.ids import new_id
from tinytown.model.messages import DEFAULT_MESSAGE_LIMIT_BYTES
from tinytown.model.results import Delivery
from tinytown.protocol.function_library import TOWN_LIBRARY
from tinytown.protocol.keys import Keys
from tinytown.protocol.operation import Argument, Operation, function_call


class OperationBase:
    """Makes operations of the town `name`. Holds nothing but key names; safe to share."""

    def __init__(self, name: str, *, message_limit_bytes: int = DEFAULT_MESSAGE_LIMIT_BYTES) -> None:
        self.keys = Keys(name)
        self.message_limit_bytes = message_limit_bytes

    def _call(self, function: str, decode: Any, *args: Argument) -> Operation[Any]:
        return function_call(TOWN_LIBRARY, function, self.keys.base, decode, *args)

    def _once(self, function: str, decode: Any, *args: Argument) -> Operation[Any]:
        """A call that would do more the second time: the fresh id in front lets the function recognize a repetition."""
        return self._call(function, decode, new_id(), *args)


def members(deliveries: Iterable[Delivery]) -> list[str]:
    """Member and claim token of each delivery."""
    return [part for delivery in deliveries for part in (delivery.member, delivery.token)]


def flat(fields: Mapping[str, Argument]) -> list[Argument]:
    """Names and values in turn."""
    return [part for item in fields.items() for part in item]


def json_text(value: Any) -> str:
    """`value` as JSON."""
    return msgspec.json.encode(value).decode()
