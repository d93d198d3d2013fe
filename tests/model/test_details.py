from __future__ import annotations

import inspect
from typing import Any

import pytest
from tinytown.model.details import MessageDetails, TaskChanges, TaskDetails, check_keywords
from tinytown.protocol.operations import TownOperations
from tinytown.town import AgentHandle, Town


@pytest.mark.parametrize(
    ("kind", "method", "own"),
    [
        (TaskDetails, TownOperations.add_task, {"self", "description", "agent"}),
        (TaskChanges, TownOperations.update_task, {"self", "task"}),
        (MessageDetails, TownOperations.send, {"self", "to", "body"}),
    ],
)
def test_the_typed_keywords_are_those_of_the_operation(kind: type[Any], method: Any, own: set[str]) -> None:
    assert set(kind.__annotations__) == set(inspect.signature(method).parameters) - own


def test_an_unknown_keyword_is_refused_by_the_name_of_the_public_function() -> None:
    check_keywords("Town.add_task", TaskDetails, {"title": "x", "needs": []})
    with pytest.raises(TypeError, match=r"Town\.add_task\(\) got an unexpected keyword argument 'label'"):
        check_keywords("Town.add_task", TaskDetails, {"label": "x"})


@pytest.mark.parametrize(
    "name", [f"{kind.__name__}.{name}" for kind in (Town, AgentHandle) for name in ("send", "add_task", "assign")]
)
def test_each_public_function_with_details_checks_them_under_its_own_name(name: str) -> None:
    kind, method = name.split(".")
    function = getattr({"Town": Town, "AgentHandle": AgentHandle}[kind], method, None)
    if function is not None:
        assert f'check_keywords("{name}"' in inspect.getsource(function)
