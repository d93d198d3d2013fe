"""Tinytown: a town of AI coding agents on one project.

    async with tinytown.open_town(".") as town:
        designer = await town.spawn("designer", cli="echo")
        task = await designer.assign("Design the API")
        await designer.wait_for_idle()

What programs use stands here and is imported when first touched; plugins see `tinytown.hookspecs` and `tinytown.contracts`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinytown.hookspecs import hookimpl
    from tinytown.kernel.kernel import open_town
    from tinytown.model.agents import Agent
    from tinytown.model.events import Event
    from tinytown.model.messages import Message
    from tinytown.model.tasks import Task
    from tinytown.town import AgentHandle, Town

__version__ = "0.1.0"

__all__ = ["Agent", "AgentHandle", "Event", "Message", "Task", "Town", "__version__", "hookimpl", "open_town"]

_HOMES = {
    "Agent": "model.agents",
    "AgentHandle": "town",
    "Event": "model.events",
    "Message": "model.messages",
    "Task": "model.tasks",
    "Town": "town",
    "hookimpl": "hookspecs",
    "open_town": "kernel.kernel",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"tinytown.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
