# /// script
# requires-python = ">=3.11"
# dependencies = ["taskiq>=0.13", "taskiq-redis>=1.2"]
# ///
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false
# (The peer is installed in an environment of its own, which type checkers do not see.)

"""taskiq with taskiq-redis' stream broker (the one that acknowledges) running no-op jobs; no result backend."""

import asyncio
import time

import stopwatch
from taskiq_redis import RedisStreamBroker

broker = RedisStreamBroker(url=stopwatch.URL)


@broker.task(task_name="noop")  # else named after __main__ by one side and after the module by the other
async def noop(body: str) -> None:
    stopwatch.job_done()


async def enqueue():
    await broker.startup()
    began_at = time.monotonic()
    await stopwatch.at_once(lambda: noop.kiq(stopwatch.BODY))
    done_at = time.monotonic()
    await broker.shutdown()
    return began_at, done_at


if __name__ == "__main__":
    options = ("--workers", "1", "--max-async-tasks", str(stopwatch.AT_ONCE), "--log-level", "WARNING")
    stopwatch.main(lambda: asyncio.run(enqueue()), worker=("-m", "taskiq", "worker", "taskiq_noops:broker", *options))
