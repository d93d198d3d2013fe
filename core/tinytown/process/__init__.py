"""Commands and the processes they start: run, limited, and ended with their whole tree.

What plugins use stands here and is imported when first used: `is_running` and the orphans need no trio.
"""

from __future__ import annotations

from tinytown.exports import lazy_exports

__getattr__ = lazy_exports(
    __name__,
    {
        "orphans": "find_orphans sweep_orphans",
        "output": "Line Log older_log",
        "pausable_clock": "PausableClock",
        "pids": "is_running",
        "reaper": "descendants_of signal_each start_time",
        "runner": "Exit",
        "running": "RunningCommand",
        "supervisor": "ProcessSupervisor RunOptions open_process_supervisor",
    },
)
