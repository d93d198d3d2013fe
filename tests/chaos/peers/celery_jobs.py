# /// script
# requires-python = ">=3.11"
# dependencies = ["celery[redis]>=5.7"]
# ///
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false
# (The peer is installed in an environment of its own, which type checkers do not see.)

"""celery with its default settings: its prefork pool, and jobs acknowledged before they run."""

import jobs
from celery import Celery

app = Celery("celery_jobs", broker=f"redis+socket://{jobs.SOCKET_PATH}")
app.conf.task_ignore_result = True


@app.task
def job(number):
    jobs.work(number)


def give():
    for number in jobs.numbers():
        job.delay(number)


if __name__ == "__main__":
    jobs.main(give, worker=("-m", "celery", "-A", "celery_jobs", "worker", "--loglevel", "WARNING"))
