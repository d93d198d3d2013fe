"""What the front of a package offers without importing it: names are imported when they are first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_exports(package: str, names_by_module: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's ``__getattr__`` that takes a name from the module that holds it.

    `names_by_module` has a dotted path below `package` and the names to take from it, separated by blanks. The stub beside the
    front, ``__init__.pyi``, declares the same names to type checkers. Source: Scientific Python's SPEC 1.
    """
    homes = {name: module for module, names in names_by_module.items() for name in names.split()}

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return get
