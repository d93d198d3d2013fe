# /// script
# requires-python = ">=3.11"
# dependencies = ["saq[redis]>=0.24", "typing-extensions"]
# ///
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false
# (The peer is installed in an environment of its own, which type checkers do not see.)

"""saq with its default settings."""

import asyncio

import jobs
from redis.asyncio import Redis
from saq.queue.redis import RedisQueue

queue = RedisQueue(Redis.from_url(jobs.URL))


async def job(ctx, *, number):
    await jobs.work_async(number)


settings = {"queue": queue, "functions": [job]}


async def give():
    await queue.connect()
    await jobs.give_all(lambda number: queue.enqueue("job", number=number))
    await queue.disconnect()


if __name__ == "__main__":
    jobs.main(lambda: asyncio.run(give()), worker=("-m", "saq", "saq_jobs.settings"))
