from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tinytown.errors import NotFound, ProtocolViolation, UsageError
from tinytown.protocol import TOWN_LIBRARY, FunctionLibrary, Operation, function_call

from tests.protocol.conftest import BareTown

COUNTING = """
-- counted: agent -> its name and how many agents there are
register('counted', function(base, a)
  local _, name = find_agent(base, a[1])
  return { name, redis.call('ZCARD', base .. ':agents') }
end)
"""
MOVING = """
register_once('first_to_backlog', function(base, a)
  local task = read_task(base, find_task(base, a[1]))
  unassign(base, task, now_ms())
  route_task(base, task, 'a plugin says so', now_ms())
  return task.state
end)
"""


def library(directory: Path, source: str, **options: Any) -> FunctionLibrary:
    path = directory / "functions.lua"
    path.write_text(source)
    return FunctionLibrary("sample", path, **options)


def counted(town: BareTown, functions: FunctionLibrary, agent: str) -> Operation[tuple[str, int]]:
    return function_call(functions, "counted", town.base, lambda reply: (reply[0].decode(), reply[1]), agent)


def test_a_library_on_the_prelude_finds_agents_and_refuses_as_the_town_does(town: BareTown, tmp_path: Path) -> None:
    functions = library(tmp_path, COUNTING)
    town.run(town.operations.create_agent("ann", cli="shell"))
    assert town.run(counted(town, functions, "an")) == ("ann", 1)
    with pytest.raises(NotFound, match="no agent called"):
        town.run(counted(town, functions, "nobody"))


def test_a_library_on_the_town_changes_tasks_by_the_towns_own_rules(town: BareTown, tmp_path: Path) -> None:
    functions = library(tmp_path, MOVING, extends="town")
    town.run(town.operations.create_agent("ann", cli="shell"))
    town.run(town.operations.add_task("work", agent="ann", task_id="job"))
    move = function_call(functions, "first_to_backlog", town.base, bytes.decode, "op-1", "job")
    assert town.run(move) == town.run(move) == "pending"
    assert town.run(town.operations.task("job")).state == "pending"
    assert town.run(town.operations.peek("ann")).messages == ()


def test_a_library_registers_its_own_functions_only(town: BareTown, tmp_path: Path) -> None:
    functions = library(tmp_path, MOVING, extends="town")
    town.run(town.operations.create_agent("ann", cli="shell"))
    town.run(town.operations.add_task("work", agent="ann", task_id="job"))
    town.run(function_call(functions, "first_to_backlog", town.base, bytes.decode, "op-1", "job"))
    (listed,) = town.command("FUNCTION", "LIST", "LIBRARYNAME", f"sample_{functions.digest}")
    assert [function[b"name"].decode() for function in listed[b"functions"]] == [functions.function("first_to_backlog")]


def test_a_library_that_the_server_lost_is_loaded_again(town: BareTown, tmp_path: Path) -> None:
    functions = library(tmp_path, COUNTING)
    town.run(town.operations.create_agent("ann", cli="shell"))
    for _ in range(2):
        town.command("FUNCTION", "FLUSH")
        assert town.run(counted(town, functions, "ann")) == ("ann", 1)
        assert town.run(town.operations.agent("ann")).name == "ann"
    town.command("FUNCTION", "FLUSH")
    assert town.client.run_all([counted(town, functions, "ann"), town.operations.agents()])[0] == ("ann", 1)


def test_two_versions_of_a_library_share_a_server(town: BareTown, tmp_path: Path) -> None:
    town.run(town.operations.create_agent("ann", cli="shell"))
    first = library(tmp_path, COUNTING)
    assert town.run(counted(town, first, "ann")) == ("ann", 1)
    second = library(tmp_path, COUNTING.replace("ZCARD', base .. ':agents')", "ZCARD', base .. ':agents') + 1"))
    assert first.digest != second.digest
    assert town.run(counted(town, second, "ann")) == ("ann", 2)
    assert town.run(counted(town, first, "ann")) == ("ann", 1)


def test_a_function_that_no_library_has_is_an_error_after_loading(town: BareTown, tmp_path: Path) -> None:
    functions = library(tmp_path, COUNTING)
    with pytest.raises(ProtocolViolation, match="Function not found"):
        town.run(function_call(functions, "missing", town.base, bytes.decode))


def test_an_argument_that_is_not_utf_8_is_refused(town: BareTown) -> None:
    with pytest.raises(UsageError, match="UTF-8"):
        function_call(TOWN_LIBRARY, "agent_get", town.base, bytes.decode, "x\udce9")
