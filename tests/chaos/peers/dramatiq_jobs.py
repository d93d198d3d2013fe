# /// script
# requires-python = ">=3.11"
# dependencies = ["dramatiq[redis]>=2.2"]
# ///
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false
# (The peer is installed in an environment of its own, which type checkers do not see.)

"""dramatiq with its default settings, one process of eight threads."""

import dramatiq
import jobs
from dramatiq.brokers.redis import RedisBroker

broker = RedisBroker(url=jobs.URL)
dramatiq.set_broker(broker)


@dramatiq.actor
def job(number):
    jobs.work(number)


def give():
    for number in jobs.numbers():
        job.send(number)


if __name__ == "__main__":
    jobs.main(give, worker=("-m", "dramatiq", "dramatiq_jobs", "--processes", "1"))
