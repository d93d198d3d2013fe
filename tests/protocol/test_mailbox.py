"""The mailbox by example: order, leases, delays and counts. The machine beside this tries what nobody thought of."""

from __future__ import annotations

import pytest
from tinytown.model.ids import SUPERVISOR_ID
from tinytown.model.messages import Body, Informational, Priority, Query, TaskOrder
from tinytown.model.results import Batch
from tinytown_cli import administration

from tests.protocol.conftest import BareTown

HOUR_MS = 3_600_000


def put(
    town: BareTown, *ids: str, body: Body | None = None, priority: Priority = "normal", not_before_ms: int = 0
) -> None:
    for message_id in ids:
        town.run(
            town.operations.send(
                "supervisor",
                body or Query(question="?"),
                message_id=message_id,
                priority=priority,
                not_before_ms=not_before_ms,
            )
        )


def claim(town: BareTown, token: str, count: int = 9, lease_ms: int = HOUR_MS) -> Batch:
    return town.run(town.operations.claim(SUPERVISOR_ID, token=token, count=count, lease_ms=lease_ms))


def ids(batch: Batch) -> list[str]:
    return [delivery.member[1:] for delivery in batch.deliveries]


def run_out(town: BareTown, place: str, member: str) -> None:
    town.command("ZADD", town.key(f"mail:{SUPERVISOR_ID}:{place}"), "XX", 1, member)


def test_urgent_comes_before_high_before_normal_before_low_and_the_older_first(town: BareTown) -> None:
    for round_ in ("1", "2"):
        for priority in ("low", "normal", "high", "urgent"):
            put(town, priority + round_, priority=priority)  # type: ignore[arg-type]
    ranks = ("urgent", "high", "normal", "low")
    assert ids(claim(town, "c")) == [f"{rank}{round_}" for rank in ranks for round_ in "12"]


def test_a_claim_has_one_order_and_nothing_overtakes_the_second(town: BareTown) -> None:
    put(town, "q1")
    put(town, "t1", body=TaskOrder(description="do"))
    put(town, "i1", body=Informational(summary="so"))
    put(town, "t2", body=TaskOrder(description="do"))
    put(town, "q2")
    assert ids(claim(town, "a")) == ["q1", "t1", "i1"]
    assert ids(claim(town, "b")) == ["t2", "q2"]


def test_a_message_that_comes_back_stands_where_it_stood(town: BareTown) -> None:
    put(town, "a", "b", "c")
    put(town, "first", priority="urgent")
    batch = claim(town, "1", count=2)
    assert ids(batch) == ["first", "a"]
    town.run(town.operations.nack(SUPERVISOR_ID, batch.deliveries))
    put(town, "late", priority="urgent")
    assert ids(claim(town, "2")) == ["first", "late", "a", "b", "c"]


def test_a_delayed_message_takes_the_place_of_its_age_when_its_time_comes(town: BareTown) -> None:
    put(town, "early", not_before_ms=int(town.command("TIME")[0]) * 1000 + HOUR_MS)
    put(town, "a", "b")
    batch = claim(town, "1", count=1)
    assert ids(batch) == ["a"]
    town.run(town.operations.nack(SUPERVISOR_ID, batch.deliveries, delay_ms=HOUR_MS))
    run_out(town, "delayed", "qearly")
    run_out(town, "delayed", "qa")
    assert ids(claim(town, "2")) == ["early", "a", "b"]


def test_an_empty_claim_says_when_something_falls_due(town: BareTown) -> None:
    assert claim(town, "1").next_due_ms is None
    soon = int(town.command("TIME")[0]) * 1000 + HOUR_MS
    put(town, "later", not_before_ms=soon)
    batch = claim(town, "2")
    assert (batch.deliveries, batch.next_due_ms) == ((), soon)
    put(town, "now")
    leased = claim(town, "3", lease_ms=1000)
    assert leased.next_due_ms is None
    assert claim(town, "4").next_due_ms == leased.now_ms + 1000


@pytest.mark.parametrize("renewed", [True, False])
def test_a_lease_that_was_renewed_does_not_run_out(town: BareTown, renewed: bool) -> None:
    put(town, "m")
    batch = claim(town, "1")
    run_out(town, "leases", "qm")
    if renewed:
        assert town.run(town.operations.renew(SUPERVISOR_ID, batch.deliveries, lease_ms=HOUR_MS)) == (True,)
    assert ids(claim(town, "2")) == ([] if renewed else ["m"])


def test_a_lease_really_runs_out(town: BareTown) -> None:
    put(town, "m")
    claim(town, "1", lease_ms=20)
    tries = 1
    while not (batch := claim(town, f"again{tries}")).deliveries:
        tries += 1
    assert [(delivery.member, delivery.deliveries) for delivery in batch.deliveries] == [("qm", 2)]


def test_deliveries_are_counted_unless_the_mail_went_back_untouched(town: BareTown) -> None:
    put(town, "m")
    for token, counts, expected in (("1", True, 1), ("2", False, 2), ("3", False, 2), ("4", True, 2), ("5", True, 3)):
        batch = claim(town, token)
        assert [delivery.deliveries for delivery in batch.deliveries] == [expected]
        town.run(town.operations.nack(SUPERVISOR_ID, batch.deliveries, counts=counts))


def test_a_message_delivered_too_often_is_a_dead_letter_with_the_last_reason(town: BareTown) -> None:
    put(town, "m", priority="high")
    for number in range(4):
        town.run(town.operations.nack(SUPERVISOR_ID, claim(town, f"c{number}").deliveries, reason=f"failed {number}"))
    claim(town, "last")
    run_out(town, "leases", "qm")
    put(town, "other")
    assert ids(claim(town, "next")) == ["other"]
    (letter,) = town.run(administration.dead_letters(town.operations.keys))
    assert (letter.id, letter.agent, letter.deliveries, letter.reason) == ("m", "supervisor", 5, "its lease ran out")
    assert letter.message
    assert letter.message.priority == "high"
    town.run(administration.redrive(town.operations.keys, "m"))
    put(town, "young", priority="high")
    again = claim(town, "again")
    assert [(delivery.member[1:], delivery.deliveries) for delivery in again.deliveries] == [("m", 1), ("young", 1)]


def test_a_dead_letter_cannot_be_sent_again_beside_itself(town: BareTown) -> None:
    put(town, "m")
    town.run(town.operations.dead_letter(SUPERVISOR_ID, claim(town, "c").deliveries, reason="x"))
    town.command("DEL", town.key("trace:m"))
    assert not town.run(town.operations.send("supervisor", Query(question="?"), message_id="m")).new


def test_a_claim_for_nothing_still_settles_and_takes_back(town: BareTown) -> None:
    put(town, "a", "b", "c")
    batch = claim(town, "1", count=2)
    run_out(town, "leases", "qb")
    acks = town.operations.claim(SUPERVISOR_ID, token="2", count=0, acks=batch.deliveries[:1])
    assert town.run(acks).deliveries == ()
    assert [lying.message.id for lying in town.run(town.operations.peek("supervisor")).messages if lying.message] == [
        "b",
        "c",
    ]


def test_peek_shows_what_would_be_delivered_and_takes_nothing(town: BareTown) -> None:
    put(town, "a", "b", "c")
    put(town, "later", not_before_ms=int(town.command("TIME")[0]) * 1000 + HOUR_MS)
    claim(town, "1", count=1)
    before = town.dump()
    inbox = town.run(town.operations.peek("conductor"))
    assert inbox.agent == "supervisor"
    assert [(lying.place, lying.message.id, lying.deliveries) for lying in inbox.messages if lying.message] == [
        ("leased", "a", 1),
        ("queued", "b", 0),
        ("queued", "c", 0),
        ("delayed", "later", 0),
    ]
    assert len(town.run(town.operations.peek("supervisor", limit=2)).messages) == 2
    assert town.dump() == before


def test_a_story_ends_with_the_lease_that_the_message_is_under(town: BareTown) -> None:
    put(town, "m")
    town.run(town.operations.nack(SUPERVISOR_ID, claim(town, "1").deliveries, reason="not now"))
    claim(town, "2")
    leased = [(line.at, line.what) for line in town.run(administration.trace(town.operations.keys, "m"))]
    assert [what for _, what in leased][-3:] == ["leased 1 delivery 1", "returned not now", "leased 2 delivery 2"]
    assert leased == sorted(leased, key=lambda line: line[0])
    town.command("DEL", town.key("trace:m"))  # ran out while the message was worked on
    assert [(line.at, line.what) for line in town.run(administration.trace(town.operations.keys, "m"))] == leased[-1:]


def test_a_story_tells_every_station(town: BareTown) -> None:
    put(town, "m")
    first = claim(town, "1")
    town.run(town.operations.nack(SUPERVISOR_ID, first.deliveries, reason="the backend is busy"))
    town.run(town.operations.ack(SUPERVISOR_ID, claim(town, "2").deliveries))
    assert [line.what for line in town.run(administration.trace(town.operations.keys, "m"))] == [
        "queued for supervisor from supervisor",
        "leased 1 delivery 1",
        "returned the backend is busy",
        "leased 2 delivery 2",
        "acked",
    ]
