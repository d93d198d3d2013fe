"""The kernel of a town: it hosts agents, runs their rounds, and feeds services and sinks.

What programs and plugins use stands here and is imported when first used: asking for a running kernel needs no trio.
"""

from __future__ import annotations

from tinytown.exports import lazy_exports

__getattr__ = lazy_exports(
    __name__,
    {
        "boxes": "agent_directory log_path",
        "environment": "round_environment",
        "kernel": "Kernel open_kernel open_town run_kernel",
        "lock": "kernel_lock kernel_with_state running_kernel",
        "prompt": "build_prompt",
        "recovery": "is_alive machine_id run_directory",
    },
)
