# What type checkers see of this package, whose names are imported when they are first used.

from tinytown.process.orphans import find_orphans as find_orphans, sweep_orphans as sweep_orphans
from tinytown.process.output import Line as Line, Log as Log, older_log as older_log
from tinytown.process.pausable_clock import PausableClock as PausableClock
from tinytown.process.pids import is_running as is_running
from tinytown.process.reaper import (
    descendants_of as descendants_of,
    signal_each as signal_each,
    start_time as start_time,
)
from tinytown.process.runner import Exit as Exit
from tinytown.process.running import RunningCommand as RunningCommand
from tinytown.process.supervisor import (
    ProcessSupervisor as ProcessSupervisor,
    RunOptions as RunOptions,
    open_process_supervisor as open_process_supervisor,
)
