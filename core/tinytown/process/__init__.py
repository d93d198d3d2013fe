"""Commands and the processes they start: run, limited, and ended with their whole tree.

What plugins use stands here and is imported when first used: `is_running` and the orphans need no trio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinytown.exports import lazy_exports

if TYPE_CHECKING:
    from tinytown.process.orphans import find_orphans as find_orphans, sweep_orphans as sweep_orphans
    from tinytown.process.output import Line as Line
    from tinytown.process.pids import is_running as is_running
    from tinytown.process.reaper import (
        descendants_of as descendants_of,
        signal_each as signal_each,
        start_time as start_time,
    )
    from tinytown.process.runner import Exit as Exit
    from tinytown.process.supervisor import (
        ProcessSupervisor as ProcessSupervisor,
        open_process_supervisor as open_process_supervisor,
    )

__getattr__ = lazy_exports(
    __name__,
    {
        "orphans": "find_orphans sweep_orphans",
        "output": "Line",
        "pids": "is_running",
        "reaper": "descendants_of signal_each start_time",
        "runner": "Exit",
        "supervisor": "ProcessSupervisor open_process_supervisor",
    },
)
