# /// script
# requires-python = ">=3.11"
# dependencies = ["celery[redis]>=5.7"]
# ///
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false
# (The peer is installed in an environment of its own, which type checkers do not see.)

"""celery running no-op jobs: one process of its default (prefork) pool, default settings, results ignored."""

import time

import stopwatch
from celery import Celery

app = Celery("celery_noops", broker=f"redis+socket://{stopwatch.SOCKET_PATH}")
app.conf.task_ignore_result = True


@app.task
def noop(body):
    stopwatch.job_done()


def enqueue():
    with app.connection_for_write() as connection:
        connection.ensure_connection()
    began_at = time.monotonic()
    for _ in range(stopwatch.JOBS):
        noop.delay(stopwatch.BODY)
    return began_at, time.monotonic()


if __name__ == "__main__":
    options = ("--concurrency", "1", "--loglevel", "WARNING", "--without-gossip", "--without-mingle")
    stopwatch.main(enqueue, worker=("-m", "celery", "-A", "celery_noops", "worker", *options))
