"""The protocol as values: key names, operations and the server-side functions. Pure, no IO.

What plugins use is exported here and imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinytown.protocol.function_library import TOWN_LIBRARY, FunctionLibrary
    from tinytown.protocol.keys import KEYS, Keys
    from tinytown.protocol.operation import Argument, ErrorReply, Operation, Reply, function_call, load_library
    from tinytown.protocol.operations import TownOperations
    from tinytown.protocol.town_operations import SCHEMA

__all__ = [
    "KEYS",
    "SCHEMA",
    "TOWN_LIBRARY",
    "Argument",
    "ErrorReply",
    "FunctionLibrary",
    "Keys",
    "Operation",
    "Reply",
    "TownOperations",
    "function_call",
    "load_library",
]

_MODULES = {
    "Argument": "operation",
    "ErrorReply": "operation",
    "FunctionLibrary": "function_library",
    "KEYS": "keys",
    "Keys": "keys",
    "Operation": "operation",
    "Reply": "operation",
    "SCHEMA": "town_operations",
    "TOWN_LIBRARY": "function_library",
    "TownOperations": "operations",
    "function_call": "operation",
    "load_library": "operation",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
