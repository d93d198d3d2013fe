# /// script
# requires-python = ">=3.11"
# dependencies = ["taskiq>=0.13", "taskiq-redis>=1.2"]
# ///
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false
# (The peer is installed in an environment of its own, which type checkers do not see.)

"""taskiq with the stream broker of taskiq-redis, the one that acknowledges, and its default settings."""

import asyncio

import jobs
from taskiq_redis import RedisStreamBroker

broker = RedisStreamBroker(url=jobs.URL)


@broker.task(task_name="job")  # else named after __main__ by one side and after the module by the other
async def job(number: int) -> None:
    await jobs.work_async(number)


async def give():
    await broker.startup()
    await jobs.give_all(job.kiq)
    await broker.shutdown()


if __name__ == "__main__":
    jobs.main(lambda: asyncio.run(give()), worker=("-m", "taskiq", "worker", "taskiq_jobs:broker", "--workers", "1"))
