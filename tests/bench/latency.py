"""How long an idle agent's mail takes from one process into another, in round trips of the same server."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from .children import figures_of
from .conditions import REPOSITORY, Conditions
from .measure import Benchmark, Competitor, Figures, Wanted
from .server import throwaway_server


@contextlib.contextmanager
def latency(conditions: Conditions) -> Iterator[Benchmark]:
    """Send to receive between two processes, with an acknowledgement after each message."""
    messages = conditions.amount(300)

    def measure() -> Figures:
        with throwaway_server(conditions.durability) as server:
            argv = [sys.executable, "-m", f"{__package__}.latency_round", "send", server.url, str(messages)]
            return figures_of(argv, cwd=REPOSITORY, deadline_s=120)

    name = "tinytown, idle"
    yield Benchmark(
        name="latency",
        title="From send to receive between two processes, idle, each message acknowledged",
        figures=(
            "received_p50_us",
            "received_p99_us",
            "acked_p50_us",
            "ping_p50_us",
            "round_trips",
            "blocking_ping_p50_us",
            "blocking_round_trips",
        ),
        competitors=(Competitor(name=name, measure=measure),),
        wanted=(Wanted(text="p50 in round trips of a PING", competitor=name, figure="round_trips", at_most=4),),
        conditions={
            "a round": f"{messages} messages of 300 bytes, PINGs between them in the same process",
            "round_trips": "beside a PING over the sender's own link; blocking_: over a plain blocking socket",
        },
    )
