# /// script
# requires-python = ">=3.11"
# dependencies = ["arq>=0.28"]
# ///
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false
# (The peer is installed in an environment of its own, which type checkers do not see.)

"""arq with its default settings."""

import asyncio

import jobs
from arq import create_pool
from arq.connections import RedisSettings

SETTINGS = RedisSettings(unix_socket_path=jobs.SOCKET_PATH)


async def job(ctx, number):
    await jobs.work_async(number)


class WorkerSettings:
    functions = (job,)
    redis_settings = SETTINGS


async def give():
    pool = await create_pool(SETTINGS)
    await jobs.give_all(lambda number: pool.enqueue_job("job", number))
    await pool.aclose()


if __name__ == "__main__":
    jobs.main(lambda: asyncio.run(give()), worker=("-m", "arq", "arq_jobs.WorkerSettings"))
