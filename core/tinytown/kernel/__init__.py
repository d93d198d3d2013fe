"""What runs a town: agents, rounds, gates, events, recovery.

What plugins use stands here and is imported when first used: transcripts and logs need no trio.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinytown.kernel.agent_worker import agent_directory
    from tinytown.kernel.kernel import open_town, run_kernel
    from tinytown.kernel.lock import kernel_lock
    from tinytown.kernel.prompt import NEEDED_SHOWN, build_prompt
    from tinytown.kernel.recovery import is_alive, machine_id, run_directory
    from tinytown.kernel.round_runner import round_environment
    from tinytown.kernel.transcripts import Transcript, has_ended, log_path, older_log, read_transcript, round_begin

__all__ = [
    "NEEDED_SHOWN",
    "Transcript",
    "agent_directory",
    "build_prompt",
    "has_ended",
    "is_alive",
    "kernel_lock",
    "log_path",
    "machine_id",
    "older_log",
    "open_town",
    "read_transcript",
    "round_begin",
    "round_environment",
    "run_directory",
    "run_kernel",
]

_MODULES = {
    "NEEDED_SHOWN": "prompt",
    "Transcript": "transcripts",
    "agent_directory": "agent_worker",
    "build_prompt": "prompt",
    "has_ended": "transcripts",
    "is_alive": "recovery",
    "kernel_lock": "lock",
    "log_path": "transcripts",
    "machine_id": "recovery",
    "older_log": "transcripts",
    "open_town": "kernel",
    "read_transcript": "transcripts",
    "round_begin": "transcripts",
    "round_environment": "round_runner",
    "run_directory": "recovery",
    "run_kernel": "kernel",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
