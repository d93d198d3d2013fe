"""The protocol as values: key names, operations and the server-side functions. Pure, no IO.

What plugins use stands here and is imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinytown.protocol.keys import Keys
    from tinytown.protocol.operation import Argument, ErrorReply, Operation, Reply
    from tinytown.protocol.operations import SCHEMA, TownOperations, load_library

__all__ = [
    "SCHEMA",
    "Argument",
    "ErrorReply",
    "Keys",
    "Operation",
    "Reply",
    "TownOperations",
    "load_library",
]

_MODULES = {
    "Argument": "operation",
    "ErrorReply": "operation",
    "Keys": "keys",
    "Operation": "operation",
    "Reply": "operation",
    "SCHEMA": "operations",
    "TownOperations": "operations",
    "load_library": "operations",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
