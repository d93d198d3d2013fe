"""How many messages a second go through the mailbox, beside task queues that run no-op jobs.

A message is sent, claimed and acknowledged; a job is enqueued and run. Both carry 300 bytes, both sides run in one
process against a server of their own, and each message and each job is a call of its own.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from .children import figures_of
from .conditions import REPOSITORY, Conditions
from .footprint import PROC, footprint_of
from .measure import Benchmark, Competitor, Figures, Wanted
from .queues import QUEUES, limit_competitors, queue_competitors
from .server import throwaway_server

#: How many messages one claim may take: what a kernel's claims ask for.
AT_ONCE = 20


@contextlib.contextmanager
def mailbox(conditions: Conditions) -> Iterator[Benchmark]:
    """Messages per second for 1, 20, 200 and 1,000 agents; the peers; the server's limit."""
    jobs, messages = conditions.amount(2_000), conditions.amount(20_000)

    def town(agents: int, at_once: int = AT_ONCE) -> Competitor:
        def measure() -> Figures:
            number = max(messages // 4 if agents == 1 else messages, agents)
            words = [str(word) for word in (agents, number, at_once)]
            with throwaway_server(conditions.durability) as server:
                argv = [sys.executable, "-m", f"{__package__}.mailbox_round", server.url, *words]
                figures = figures_of(argv, cwd=REPOSITORY, deadline_s=120)
                if PROC.exists():  # setting the town up is in it
                    figures["server_us"] = footprint_of(server.pid).cpu_s / number * 1e6
                return figures

        return Competitor(name=_name(agents, at_once), measure=measure)

    yield Benchmark(
        name="mailbox",
        title="Mailbox, end to end, 300-byte bodies",
        figures=("messages_per_s", "enqueued_per_s", "processed_per_s", "client_us", "server_us"),
        competitors=(
            *(town(agents) for agents in (1, 20, 200, 1_000)),
            town(20, at_once=1),
            *queue_competitors(jobs, conditions.durability, conditions.environments),
            *limit_competitors(conditions.amount(100_000), conditions.durability),
        ),
        reference=_name(20),
        wanted=(
            Wanted(
                text="20 agents beside the fastest peer that recovers a killed worker's jobs",
                competitor=_name(20),
                figure="messages_per_s",
                beside=tuple(queue.name for queue in QUEUES if queue.recovers and queue.as_shipped),
                at_least=20,
            ),
            Wanted(
                text="20 agents beside the fastest peer",
                competitor=_name(20),
                figure="messages_per_s",
                beside=tuple(queue.name for queue in QUEUES),
                at_least=5,
            ),
            Wanted(
                text="1,000 agents beside 20",
                competitor=_name(1_000),
                figure="messages_per_s",
                beside=(_name(20),),
                at_least=0.5,
            ),
        ),
        conditions={
            "a town's round": f"{messages:,} messages (a quarter for 1 agent), claims of up to {AT_ONCE}",
            "client_us, server_us": "processor time a message, which a busy machine disturbs less than the rate",
            "a peer's round": f"{jobs:,} no-op jobs, one worker process, its defaults but for what is said below",
        },
    )


def _name(agents: int, at_once: int = AT_ONCE) -> str:
    return f"tinytown, {agents:,} agent{'s' * (agents > 1)}" + (f", claims of {at_once}" if at_once != AT_ONCE else "")
