"""How many messages a second go through the mailbox, beside task queues that run no-op jobs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .conditions import Conditions
from .measure import Benchmark
from .queues import limit_competitors, queue_competitors


@contextlib.contextmanager
def mailbox(conditions: Conditions) -> Iterator[Benchmark]:
    """Messages per second end to end: Tinytown's send, claim and ack; a peer's enqueue and run."""
    jobs = conditions.amount(2_000)
    yield Benchmark(
        name="mailbox",
        title="Mailbox, end to end, 300-byte bodies",
        figures=("messages_per_s", "enqueued_per_s", "processed_per_s"),
        competitors=(
            *queue_competitors(jobs, conditions.appendonly, conditions.environments),
            *limit_competitors(conditions.amount(100_000), conditions.appendonly),
        ),
        conditions={"a peer's round": f"{jobs:,} no-op jobs, one worker process, all defaults not named below"},
    )
