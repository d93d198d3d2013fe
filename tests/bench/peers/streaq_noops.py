# /// script
# requires-python = ">=3.11"
# dependencies = ["streaq>=7.2"]
# ///
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false
# (The peer is installed in an environment of its own, which type checkers do not see.)

"""streaq running no-op jobs: its defaults but for the concurrency, or (without BENCH_AS_SHIPPED) also no logging per task
and no kept results, which do not bound the rate then.

As shipped its worker logs two lines for each task and keeps each result for five minutes.
"""

import asyncio
import os
import time

import stopwatch
from streaq import Worker

BARE = {} if os.environ.get("BENCH_AS_SHIPPED") else {"silent": True, "ttl": 0}

worker = Worker(redis_url=stopwatch.URL, concurrency=stopwatch.AT_ONCE)


@worker.task(**BARE)
async def noop(body: str) -> None:
    stopwatch.job_done()


async def enqueue():
    async with worker:
        began_at = time.monotonic()
        await stopwatch.at_once(lambda: noop.enqueue(stopwatch.BODY).start())
        return began_at, time.monotonic()


if __name__ == "__main__":
    stopwatch.main(lambda: asyncio.run(enqueue()), worker=("-m", "streaq", "run", "streaq_noops:worker"))
