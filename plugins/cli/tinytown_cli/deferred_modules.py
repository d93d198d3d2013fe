"""Keeps modules off the way of quick commands that click and msgspec import at once and seldom use.

`inspect`, with the five modules that it imports, serves help texts; of `typing_extensions` msgspec wants only what `typing`
has since Python 3.11. Together a tenth of what ``tt send`` takes. Imports the standard library only.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class _Deferred(ModuleType):
    """Stands for a module, which is imported when something of it is used."""

    def __getattr__(self, name: str) -> Any:
        _step_aside(self)
        return getattr(importlib.import_module(self.__name__), name)


class _Inspect(_Deferred):
    def cleandoc(self, doc: str) -> str:
        """What click asks for each option: the real one is for texts of several lines."""
        return str(self.__getattr__("cleandoc")(doc)) if "\n" in doc else doc.expandtabs().lstrip()


_deferred = [_Inspect("inspect"), _Deferred("textwrap"), _Deferred("msgspec.inspect")]


def defer() -> None:
    """Until `stop_deferring`, importing one of these modules gives a stand-in for it."""
    for module in _deferred:
        sys.modules.setdefault(module.__name__, module)
    sys.modules.setdefault("typing_extensions", None)  # type: ignore[arg-type]  # "cannot be imported"


def stop_deferring() -> None:
    """From now on they are imported as ever. Who imported a stand-in keeps it, and can use it as the module."""
    for module in _deferred:
        _step_aside(module)
    if sys.modules.get("typing_extensions", ...) is None:  # pyright: ignore[reportUnnecessaryComparison] - see `defer`
        del sys.modules["typing_extensions"]


def _step_aside(module: ModuleType) -> None:
    if sys.modules.get(module.__name__) is module:
        del sys.modules[module.__name__]
