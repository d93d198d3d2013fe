# /// script
# requires-python = ">=3.11"
# dependencies = ["streaq>=7.2"]
# ///
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false
# (The peer is installed in an environment of its own, which type checkers do not see.)

"""streaq with its default settings."""

import asyncio

import jobs
from streaq import Worker

worker = Worker(redis_url=jobs.URL)


@worker.task()
async def job(number: int) -> None:
    await jobs.work_async(number)


async def give():
    async with worker:
        await jobs.give_all(lambda number: job.enqueue(number).start())


if __name__ == "__main__":
    jobs.main(lambda: asyncio.run(give()), worker=("-m", "streaq", "run", "streaq_jobs:worker"))
