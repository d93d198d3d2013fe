from __future__ import annotations

import inspect
from typing import Any

import pytest
from tinytown.model.details import MessageDetails, TaskDetails, check_keywords
from tinytown.protocol.operations import TownOperations
from tinytown.town import AgentHandle, Town


def test_the_typed_keywords_of_a_message_are_those_of_the_operation() -> None:
    parameters = set(inspect.signature(TownOperations.send).parameters)
    assert set(MessageDetails.__annotations__) == parameters - {"self", "to", "body"}


def test_an_unknown_keyword_is_refused_by_the_name_of_the_public_function() -> None:
    check_keywords("Town.add_task", TaskDetails, {"title": "x", "needs": []})
    with pytest.raises(TypeError, match=r"Town\.add_task\(\) got an unexpected keyword argument 'label'"):
        check_keywords("Town.add_task", TaskDetails, {"label": "x"})


def test_a_misspelt_keyword_of_an_operation_is_refused() -> None:
    operations: Any = TownOperations("town")
    with pytest.raises(TypeError, match="label"):
        operations.add_task("work", label="x")


@pytest.mark.parametrize(
    "name", [f"{kind.__name__}.{name}" for kind in (Town, AgentHandle) for name in ("send", "add_task", "assign")]
)
def test_each_public_function_with_details_checks_them_under_its_own_name(name: str) -> None:
    kind, method = name.split(".")
    function = getattr({"Town": Town, "AgentHandle": AgentHandle}[kind], method, None)
    if function is not None:
        assert f'check_keywords("{name}"' in inspect.getsource(function)
