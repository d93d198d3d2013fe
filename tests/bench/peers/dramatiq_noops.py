# /// script
# requires-python = ">=3.11"
# dependencies = ["dramatiq[redis]>=2.2"]
# ///
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false
# (The peer is installed in an environment of its own, which type checkers do not see.)

"""dramatiq running no-op jobs: one process with its default of 8 threads, default settings."""

import time

import dramatiq
import stopwatch
from dramatiq.brokers.redis import RedisBroker

broker = RedisBroker(url=stopwatch.URL)
dramatiq.set_broker(broker)


@dramatiq.actor
def noop(body):
    stopwatch.job_done()


def enqueue():
    broker.client.ping()
    began_at = time.monotonic()
    for _ in range(stopwatch.JOBS):
        noop.send(stopwatch.BODY)
    return began_at, time.monotonic()


if __name__ == "__main__":
    stopwatch.main(enqueue, worker=("-m", "dramatiq", "dramatiq_noops", "--processes", "1", "--threads", "8"))
