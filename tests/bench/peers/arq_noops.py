# /// script
# requires-python = ">=3.11"
# dependencies = ["arq>=0.28"]
# ///
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false
# (The peer is installed in an environment of its own, which type checkers do not see.)

"""arq running no-op jobs. With its default poll interval, or (BENCH_POLL_S) with one that does not bound the rate.

The worker reads at most max(5 x max_jobs, 100) jobs per poll, so the default of 0.5 s allows 200 jobs a second.
Its own function runs the worker, because its command logs two lines per job. Results are not kept.
"""

import asyncio
import os
import time

import stopwatch
from arq import create_pool
from arq.connections import RedisSettings

SETTINGS = RedisSettings(unix_socket_path=stopwatch.SOCKET_PATH)


async def noop(ctx, body):
    stopwatch.job_done()


class WorkerSettings:
    functions = (noop,)
    redis_settings = SETTINGS
    max_jobs = stopwatch.AT_ONCE
    keep_result = 0
    poll_delay = float(os.environ.get("BENCH_POLL_S", "0.5"))


async def enqueue():
    pool = await create_pool(SETTINGS)
    began_at = time.monotonic()
    await stopwatch.at_once(lambda: pool.enqueue_job("noop", stopwatch.BODY))
    done_at = time.monotonic()
    await pool.aclose()
    return began_at, done_at


if __name__ == "__main__":
    run = "import arq.worker, arq_noops; arq.worker.run_worker(arq_noops.WorkerSettings)"
    stopwatch.main(lambda: asyncio.run(enqueue()), worker=("-c", run))
