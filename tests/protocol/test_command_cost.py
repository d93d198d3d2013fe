"""What a message costs the server, in commands; see docs/decisions/0022-what-a-message-costs.md."""

from __future__ import annotations

import re
from collections.abc import Callable

from tinytown.model.messages import Query

from tests.protocol.conftest import BareTown

HOUR_MS = 3_600_000
COUNT = 100


def commands_of(town: BareTown, work: Callable[[], None]) -> float:
    """How many commands the server runs for `work`, those inside functions included, per message."""

    def total() -> int:
        info = town.command("INFO", "commandstats").decode()
        calls = re.findall(r"cmdstat_(\S+):calls=(\d+)", info)
        return sum(int(count) for name, count in calls if name != "info")

    before = total()
    work()
    return (total() - before) / COUNT


def test_a_message_costs_no_more_commands_than_it_did(town: BareTown) -> None:
    operations, run = town.operations, town.run
    ann = run(operations.create_agent("ann", cli="shell"))
    run(operations.register_host("h1", lease_ms=HOUR_MS, details={"name": "here"}))
    fence = run(operations.place_agents("h1", ["shell"], count=1)).agents[0].token or ""

    def send_and_claim() -> None:
        for number in range(COUNT):
            run(operations.send("ann", Query(question="why?"), message_id=f"m{number}"))
            batch = run(operations.claim(ann.id, token=f"c{number}", fence=fence))
            run(operations.ack(ann.id, batch.deliveries))

    def settle() -> None:
        for number in range(COUNT):
            run(operations.settle_round(ann.id, fence, f"r{number}", (), outcome="finished", mail="ack"))

    assert commands_of(town, send_and_claim) <= 32
    assert commands_of(town, settle) <= 13
