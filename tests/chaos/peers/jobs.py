"""What every peer's script shares: where the server is, what a job does, and how jobs are given to the queue.

Standard library only, because each peer's script runs in an environment that holds that peer and nothing else. A
script gives jobs (`SCRIPT give BEGIN END`) or becomes the peer's own worker (`SCRIPT work`). A job writes a line when it
begins and when it is done, each with its number, its process and the time (CLOCK_MONOTONIC, which processes share).
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

#: The server's socket; workers reach it through a gate that can be shut.
SOCKET_PATH = os.environ.get("CHAOS_SOCKET", "")
URL = f"unix://{SOCKET_PATH}"

AT_ONCE = 10


def _write(word: str, number: int) -> None:
    line = f"{word} {number} {os.getpid()} {time.monotonic()}\n".encode()
    descriptor = os.open(os.environ["CHAOS_LOG"], os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, line)  # one write, so that lines of many processes do not mix
    finally:
        os.close(descriptor)


def _duration_s(number: int) -> float:
    return (0.05, 0.2, 0.5)[number % 3]


def work(number: int) -> None:
    """A job, for peers whose jobs are plain functions."""
    _write("begun", number)
    time.sleep(_duration_s(number))
    _write("done", number)


async def work_async(number: int) -> None:
    """The same job, for peers whose jobs are async functions."""
    _write("begun", number)
    await asyncio.sleep(_duration_s(number))
    _write("done", number)


async def give_all(give: Callable[[int], Awaitable[object]]) -> None:
    """Give the jobs that the command line names, one after the other."""
    for number in numbers():
        await give(number)


def numbers() -> range:
    """The numbers of the jobs to give."""
    return range(int(sys.argv[2]), int(sys.argv[3]))


def main(give: Callable[[], object], worker: Sequence[str]) -> None:
    """Do what the first argument says: ``give`` jobs, or ``work``."""
    if sys.argv[1] == "work":
        os.execv(sys.executable, [sys.executable, *worker])
    give()
