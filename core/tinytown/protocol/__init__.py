"""The protocol as values: key names, operations and the server-side functions. Pure, no IO.

What plugins use is exported here and imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinytown.exports import lazy_exports

if TYPE_CHECKING:
    from tinytown.protocol.function_library import TOWN_LIBRARY as TOWN_LIBRARY, FunctionLibrary as FunctionLibrary
    from tinytown.protocol.keys import KEYS as KEYS, Keys as Keys
    from tinytown.protocol.operation import (
        Argument as Argument,
        ErrorReply as ErrorReply,
        Operation as Operation,
        Reply as Reply,
        function_call as function_call,
        load_library as load_library,
    )
    from tinytown.protocol.operations import TownOperations as TownOperations
    from tinytown.protocol.town_operations import SCHEMA as SCHEMA

__getattr__ = lazy_exports(
    __name__,
    {
        "function_library": "TOWN_LIBRARY FunctionLibrary",
        "keys": "KEYS Keys",
        "operation": "Argument ErrorReply Operation Reply function_call load_library",
        "operations": "TownOperations",
        "town_operations": "SCHEMA",
    },
)
