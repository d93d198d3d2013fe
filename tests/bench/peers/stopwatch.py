"""What every peer's script shares: where the server is, the job's payload, and when the jobs began and ended.

Standard library only, because each peer's script runs in an environment that holds that peer and nothing else.
A script enqueues (`SCRIPT enqueue`) or becomes the peer's own worker (`SCRIPT work`). Times are CLOCK_MONOTONIC,
which processes of one machine share; jobs finish by counting in the worker's memory, so a job costs no traffic.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

#: The server, ``unix:///path``.
URL = os.environ.get("BENCH_URL", "")
SOCKET_PATH = URL.removeprefix("unix://")
JOBS = int(os.environ.get("BENCH_JOBS", "0"))

#: The argument of every job: as long as the bodies that Tinytown's own side sends.
BODY = "x" * 300

#: Enqueue calls in flight for the peers whose client is asynchronous, and jobs at once in their worker.
AT_ONCE = 20

_numbers = itertools.count(1)  # next() on it is atomic, also between the threads of a worker
_began_at = 0.0


def job_done() -> None:
    """Called by every job as its only deed; the last one writes the finish file."""
    global _began_at
    number = next(_numbers)
    if number == 1:
        _began_at = time.monotonic()
    if number == JOBS:
        finish = os.environ["BENCH_FINISH"]
        with open(finish + ".new", "w") as file:
            json.dump({"began_at": _began_at, "done_at": time.monotonic()}, file)
        os.rename(finish + ".new", finish)


async def at_once(enqueue: Callable[[], Awaitable[object]]) -> None:
    """Enqueue all jobs, one call each, `AT_ONCE` calls in flight."""
    turns = iter(range(JOBS))

    async def lane() -> None:
        for _ in turns:
            await enqueue()

    await asyncio.gather(*(lane() for _ in range(AT_ONCE)))


def main(enqueue: Callable[[], tuple[float, float]], worker: Sequence[str]) -> None:
    """Do what the first argument says: ``enqueue`` all jobs and print how long it took, or ``work``."""
    if sys.argv[1] == "work":
        os.execv(sys.executable, [sys.executable, *worker])
    began_at, done_at = enqueue()
    print(json.dumps({"enqueue_s": done_at - began_at}))
