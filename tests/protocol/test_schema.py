"""The schema of a town's data: what other versions find is left as it is. Older data: see `tinytown_migrate`."""

from __future__ import annotations

import pytest
from tinytown.errors import Refused
from tinytown.protocol.function_library import TOWN_LIBRARY
from tinytown.protocol.operations import TownOperations
from tinytown_cli.blocking_client import BlockingClient

from tests.protocol.conftest import BareTown


def test_a_client_of_an_older_version_gets_the_schema_and_changes_nothing(town: BareTown) -> None:
    before = town.dump()
    function = TOWN_LIBRARY.function("town_setup")
    assert town.command("FCALL", function, 1, town.base, "1", "max_agents", "7") == b"2"
    assert town.dump() == before


@pytest.mark.parametrize(("schema", "code"), [("1", "older_data"), ("3", "other_schema")])
def test_data_of_another_version_is_left_as_it_is(
    client: BlockingClient, town: BareTown, schema: str, code: str
) -> None:
    town.command("HSET", town.key("meta"), "schema", schema)
    before = town.dump()
    with pytest.raises(Refused, match=f"schema '{schema}'") as caught:
        client.run(TownOperations(town.operations.keys.town).setup({"max_agents": 7}))
    assert caught.value.code == code
    assert town.dump() == before
