"""A task that somebody holds is nobody's to work on, wherever it was, until it is released or its moment has come."""

from __future__ import annotations

import pytest
from tinytown.model.messages import Query
from tinytown.model.tasks import Task
from tinytown.model.time import rfc3339
from tinytown_cli import administration

from tests.protocol.conftest import BareTown

HOUR_MS = 3_600_000


@pytest.fixture
def staffed(town: BareTown) -> BareTown:
    """With ann, on the host h, and ben, whom nobody hosts."""
    for name in ("ann", "ben"):
        town.run(town.operations.create_agent(name, cli="shell" if name == "ann" else "other", role="dev"))
    town.run(town.operations.register_host("h", lease_ms=HOUR_MS, details={"name": "h"}))
    return town


def hold(town: BareTown, task: str, **details: str) -> Task:
    return town.run(
        administration.hold_task(town.operations.keys, task, **{"reason": "wait for the design", **details})
    )


def test_a_held_task_is_on_no_backlog_and_goes_back_to_it_when_released(staffed: BareTown) -> None:
    town, operations = staffed, staffed.operations
    town.run(operations.add_task("work", role="dev", task_id="t"))
    held = hold(town, "t")
    assert (held.state, held.reason, held.held) == ("blocked", "held: wait for the design", "wait for the design")
    assert town.run(operations.tasks(state="backlog")) == ()
    assert town.refusal(operations.claim_from_backlog("t", "ben")).code == "refused"
    ann = town.run(operations.place_agents("h", ["shell"], count=1)).agents[0]
    assert town.run(operations.claim_matching(ann.id, ann.token or "")) is None
    released = town.run(administration.release_task(operations.keys, "t"))
    assert (released.state, released.held, released.reason) == ("pending", None, "released")
    assert town.refusal(administration.release_task(operations.keys, "t")).code == "refused"


def test_a_held_task_keeps_its_agent_or_gets_another_and_is_ordered_when_released(staffed: BareTown) -> None:
    town, operations = staffed, staffed.operations
    town.run(operations.add_task("work", agent="ann", task_id="t"))
    hold(town, "t")
    assert town.run(operations.peek("ann")).messages == ()  # the order was called off
    assert town.run(operations.assign_task("t", "ben")).message_id is None
    assert town.run(operations.task("t")).state == "blocked"
    assert town.run(administration.release_task(operations.keys, "t")).assigned_to == "ben"
    assert [lying.message.id for lying in town.run(operations.peek("ben")).messages if lying.message] == ["t.2"]


def test_a_round_on_a_task_that_is_held_can_say_no_more_of_it_and_was_no_attempt(staffed: BareTown) -> None:
    town, operations = staffed, staffed.operations
    town.run(operations.add_task("work", agent="ann", task_id="t"))
    ann = town.run(operations.place_agents("h", ["shell"], count=1)).agents[0]
    fence = ann.token or ""
    batch = town.run(operations.claim(ann.id, fence=fence, token="c", lease_ms=HOUR_MS))
    started = town.run(operations.start_task(ann.id, fence, "t", "run"))
    town.run(operations.start_round(ann.id, fence, "run", "t"))
    assert started.task
    token = started.task.token or ""
    held = hold(town, "t")
    assert (held.state, held.assigned_to, held.attempts, held.round_id) == ("blocked", "ann", 0, None)
    assert town.refusal(operations.settle_task("complete", "t", by=ann.id, token=token)).code == "stale_lease"
    town.run(
        operations.settle_round(
            ann.id, fence, "run", batch.deliveries, outcome="finished", mail="ack", task_ids=["t"], fate="complete"
        )
    )
    assert town.run(operations.task("t")).state == "blocked"
    assert town.run(operations.peek("ann")).messages == ()
    assert town.run(administration.release_task(operations.keys, "t")).state == "assigned"


def test_completing_what_a_held_task_needs_does_not_free_it_and_releasing_it_does_not_skip_what_it_needs(
    staffed: BareTown,
) -> None:
    town, operations = staffed, staffed.operations
    town.run(operations.add_task("first", task_id="first"))
    town.run(operations.add_task("then", needs=["first"], task_id="then"))
    hold(town, "then")
    town.run(operations.settle_task("complete", "first"))
    assert town.run(operations.task("then")).reason == "held: wait for the design"
    town.run(administration.reopen_task(operations.keys, "first"))
    released = town.run(administration.release_task(operations.keys, "then"))
    assert (released.state, released.reason) == ("blocked", "needs first (pending)")


def test_a_hold_ends_at_its_moment_when_a_kernel_beats_joins_or_asks_for_agents(staffed: BareTown) -> None:
    town, operations = staffed, staffed.operations
    now_ms = town.run(operations.claim("nobody", token="t")).now_ms
    for way in (
        operations.heartbeat("h", lease_ms=HOUR_MS),
        operations.register_host("h2", lease_ms=HOUR_MS, details={}),
        operations.place_agents("h", [], count=1),
    ):
        task = town.run(operations.add_task("work", held="wait", held_until=rfc3339(now_ms + HOUR_MS))).task
        due_s = town.run(operations.place_agents("h", [], count=1)).due_s
        assert 3590 < due_s <= 3600
        assert town.run(operations.task(task.id)).held_until == rfc3339(now_ms + HOUR_MS)
        town.command("ZADD", town.key("holds"), now_ms - 1, task.id)
        town.run(way)
        over = town.run(operations.task(task.id))
        assert (over.state, over.reason, over.held, over.held_until) == ("pending", "its hold is over", None, None)


def test_holding_again_gives_another_reason_and_another_moment(staffed: BareTown) -> None:
    town, operations = staffed, staffed.operations
    town.run(operations.add_task("work", task_id="t"))
    hold(town, "t", until="2100-01-01T00:00:00+01:00")
    assert hold(town, "t", reason="as long as it takes").held_until is None
    assert not town.command("ZCARD", town.key("holds"))


def test_a_finished_task_is_not_held_and_finishing_one_ends_its_hold(staffed: BareTown) -> None:
    town, operations = staffed, staffed.operations
    town.run(operations.add_task("work", task_id="t"))
    assert (
        town.refusal(administration.hold_task(operations.keys, "t", reason="wait", until="2000-01-01T00:00:00Z")).code
        == "usage"
    )
    hold(town, "t", until="2100-01-01T00:00:00Z")
    assert town.run(operations.settle_task("cancel", "t")).held is None
    assert town.refusal(administration.hold_task(operations.keys, "t", reason="wait")).code == "refused"
    assert town.run(administration.reopen_task(operations.keys, "t")).task.state == "pending"


def test_changing_a_held_task_leaves_it_held(staffed: BareTown) -> None:
    town, operations = staffed, staffed.operations
    town.run(operations.send("ann", Query(question="?")))
    town.run(operations.add_task("first", task_id="first"))
    town.run(operations.add_task("work", task_id="t"))
    hold(town, "t")
    for change in (
        administration.update_task(operations, "t", priority="high"),
        administration.update_task(operations, "t", needs=["first"]),
        administration.requeue_task(operations.keys, "t"),
    ):
        assert town.run(change).state == "blocked"
        assert town.run(operations.task("t")).reason == "held: wait for the design"
