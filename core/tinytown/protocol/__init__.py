"""The protocol as values: key names, operations and the server-side functions. Pure, no IO.

What plugins use is exported here and imported when first used.
"""

from __future__ import annotations

from tinytown.exports import lazy_exports

__getattr__ = lazy_exports(
    __name__,
    {
        "function_library": "MAX_LIBRARY_LOADS TOWN_LIBRARY FunctionLibrary",
        "keys": "Keys",
        "operation": "Argument ErrorReply Operation Reply function_call load_library",
        "operations": "TownOperations",
        "task_operations": "task_fields",
        "town_operations": "SCHEMA",
    },
)
