"""Tinytown: a town of AI coding agents on one project.

    async with tinytown.open_town(".") as town:
        designer = await town.spawn("designer", cli="echo")
        task = await designer.assign("Design the API")
        await designer.wait_for_idle()

What programs use stands here and is imported when first touched; plugins see `tinytown.hookspecs` and `tinytown.contracts`.
"""

from __future__ import annotations

from tinytown.exports import lazy_exports

__version__ = "0.1.0"

__getattr__ = lazy_exports(
    __name__,
    {
        "hookspecs": "hookimpl",
        "kernel.kernel": "open_town",
        "model.agents": "Agent",
        "model.events": "Event",
        "model.messages": "Message",
        "model.tasks": "Task",
        "town": "AgentHandle Town",
    },
)
