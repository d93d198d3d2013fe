"""Commands and the processes they start: run, limited, and ended with their whole tree.

What plugins use stands here and is imported when first used: `is_running` and the orphans need no trio.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinytown.process.orphans import Orphan, find_orphans, sweep_orphans
    from tinytown.process.output import Line
    from tinytown.process.pausable_clock import PausableClock
    from tinytown.process.pids import is_running
    from tinytown.process.reaper import descendants_of, signal_each, start_time
    from tinytown.process.runner import Exit
    from tinytown.process.supervisor import ProcessSupervisor, open_process_supervisor

__all__ = [
    "Exit",
    "Line",
    "Orphan",
    "PausableClock",
    "ProcessSupervisor",
    "descendants_of",
    "find_orphans",
    "is_running",
    "open_process_supervisor",
    "signal_each",
    "start_time",
    "sweep_orphans",
]

_MODULES = {
    "Exit": "runner",
    "Line": "output",
    "Orphan": "orphans",
    "PausableClock": "pausable_clock",
    "ProcessSupervisor": "supervisor",
    "descendants_of": "reaper",
    "find_orphans": "orphans",
    "is_running": "pids",
    "open_process_supervisor": "supervisor",
    "signal_each": "reaper",
    "start_time": "reaper",
    "sweep_orphans": "orphans",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
