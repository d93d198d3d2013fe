from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest
import tinytown

ROOMS = ["tinytown", *(f"tinytown.{room}" for room in ("kernel", "plugin", "process", "protocol", "redis"))]


@pytest.mark.parametrize("room", ROOMS)
def test_a_front_has_every_name_that_it_declares_to_type_checkers(room: str) -> None:
    front = import_module(room)
    assert front.__file__ is not None
    declared = [
        (statement.module, alias.name)
        for statement in ast.parse(Path(front.__file__).with_suffix(".pyi").read_text()).body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    ]
    assert declared
    for module, name in declared:
        assert module is not None
        assert getattr(front, name) is getattr(import_module(module), name)


def test_a_name_that_a_front_does_not_have_is_an_attribute_error_that_names_both() -> None:
    with pytest.raises(AttributeError, match="'tinytown' has no attribute 'no_such_name'"):
        _ = tinytown.no_such_name
