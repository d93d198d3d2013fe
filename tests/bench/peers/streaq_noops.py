# /// script
# requires-python = ">=3.11"
# dependencies = ["streaq>=7.2"]
# ///
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false
# (The peer is installed in an environment of its own, which type checkers do not see.)

"""streaq running no-op jobs: default settings but for the concurrency, no logging per task and no kept results."""

import asyncio
import time

import stopwatch
from streaq import Worker

worker = Worker(redis_url=stopwatch.URL, concurrency=stopwatch.AT_ONCE)


@worker.task(silent=True, ttl=0)
async def noop(body: str) -> None:
    stopwatch.job_done()


async def enqueue():
    async with worker:
        began_at = time.monotonic()
        await stopwatch.at_once(lambda: noop.enqueue(stopwatch.BODY).start())
        return began_at, time.monotonic()


if __name__ == "__main__":
    stopwatch.main(lambda: asyncio.run(enqueue()), worker=("-m", "streaq", "run", "streaq_noops:worker"))
