"""The kernel of a town: it hosts agents, runs their rounds, and feeds services and sinks.

What programs and plugins use stands here and is imported when first used: asking for a running kernel needs no trio.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinytown.kernel.agent_worker import agent_directory
    from tinytown.kernel.kernel import Kernel, open_kernel, open_town, run_kernel
    from tinytown.kernel.lock import kernel_lock, running_kernel
    from tinytown.kernel.prompt import NEEDED_SHOWN, build_prompt
    from tinytown.kernel.recovery import is_alive, machine_id, run_directory
    from tinytown.kernel.round_runner import round_environment
    from tinytown.kernel.transcripts import (
        Transcript,
        has_ended,
        log_path,
        older_log,
        read_transcript,
        round_begin,
        transcripts_directory,
    )

__all__ = [
    "NEEDED_SHOWN",
    "Kernel",
    "Transcript",
    "agent_directory",
    "build_prompt",
    "has_ended",
    "is_alive",
    "kernel_lock",
    "log_path",
    "machine_id",
    "older_log",
    "open_kernel",
    "open_town",
    "read_transcript",
    "round_begin",
    "round_environment",
    "run_directory",
    "run_kernel",
    "running_kernel",
    "transcripts_directory",
]

_MODULES = {
    "NEEDED_SHOWN": "prompt",
    "Kernel": "kernel",
    "Transcript": "transcripts",
    "agent_directory": "agent_worker",
    "build_prompt": "prompt",
    "has_ended": "transcripts",
    "is_alive": "recovery",
    "kernel_lock": "lock",
    "log_path": "transcripts",
    "machine_id": "recovery",
    "older_log": "transcripts",
    "open_kernel": "kernel",
    "open_town": "kernel",
    "read_transcript": "transcripts",
    "round_begin": "transcripts",
    "round_environment": "round_runner",
    "run_directory": "recovery",
    "run_kernel": "kernel",
    "running_kernel": "lock",
    "transcripts_directory": "transcripts",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
