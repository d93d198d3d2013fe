"""Brings the data of an older release on the server to the schema of this one, by one function. Pure."""

from __future__ import annotations

from pathlib import Path

from tinytown.protocol import FunctionLibrary, Keys, Operation, function_call

LIBRARY = FunctionLibrary("migrate", Path(__file__).with_name("schema_1.lua"), extends="town")


def migrate_data(keys: Keys) -> Operation[bool]:
    """Migrate the data of a town from schema 1, in one step; whether it had that schema.

    Raises: Refused while a kernel of the older version runs.
    """
    return function_call(LIBRARY, "data_migrate", keys.base, bool)
