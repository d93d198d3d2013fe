"""The kernel of a town: it hosts agents, runs their rounds, and feeds services and sinks.

What programs and plugins use stands here and is imported when first used: asking for a running kernel needs no trio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinytown.exports import lazy_exports

if TYPE_CHECKING:
    from tinytown.kernel.agent_worker import agent_directory as agent_directory
    from tinytown.kernel.kernel import (
        Kernel as Kernel,
        open_kernel as open_kernel,
        open_town as open_town,
        run_kernel as run_kernel,
    )
    from tinytown.kernel.lock import kernel_lock as kernel_lock, running_kernel as running_kernel
    from tinytown.kernel.prompt import NEEDED_SHOWN as NEEDED_SHOWN, build_prompt as build_prompt
    from tinytown.kernel.recovery import is_alive as is_alive, machine_id as machine_id, run_directory as run_directory
    from tinytown.kernel.round_runner import round_environment as round_environment
    from tinytown.kernel.transcripts import (
        Transcript as Transcript,
        log_path as log_path,
        older_log as older_log,
        round_mark as round_mark,
        transcripts_directory as transcripts_directory,
    )

__getattr__ = lazy_exports(
    __name__,
    {
        "agent_worker": "agent_directory",
        "kernel": "Kernel open_kernel open_town run_kernel",
        "lock": "kernel_lock running_kernel",
        "prompt": "NEEDED_SHOWN build_prompt",
        "recovery": "is_alive machine_id run_directory",
        "round_runner": "round_environment",
        "transcripts": "Transcript log_path older_log round_mark transcripts_directory",
    },
)
