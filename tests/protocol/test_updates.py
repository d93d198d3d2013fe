"""What a task says may change while nobody works on it: where it stands, who it waits for and how it is found follow."""

from __future__ import annotations

import pytest
from tinytown.errors import Refused
from tinytown.model.events import TaskUpdated
from tinytown.model.tasks import Task

from tests.protocol.conftest import BareTown

HOUR_MS = 3_600_000


@pytest.fixture
def desk(town: BareTown) -> BareTown:
    town.run(town.operations.create_agent("ann", cli="shell"))
    return town


def orders(town: BareTown) -> list[str]:
    """The tasks whose orders lie in ann's mailbox, in order."""
    return [
        lying.message.body.task_id  # type: ignore[union-attr]
        for lying in town.run(town.operations.peek("ann")).messages
        if lying.message
    ]


def test_only_what_is_given_changes(desk: BareTown) -> None:
    operations = desk.operations
    before = desk.run(operations.add_task("old", title="Old", tags=["a"], role="dev", parent="p", task_id="job")).task
    after = desk.run(operations.update_task("job", title="New", tags=["b", "c"]))
    assert (after.title, after.tags) == ("New", ("b", "c"))
    assert (after.description, after.role, after.parent, after.created_at) == ("old", "dev", "p", before.created_at)
    assert [task.id for task in desk.run(operations.tasks(tag="c"))] == ["job"]
    assert desk.run(operations.tasks(tag="a")) == ()
    assert desk.run(operations.update_task("job", title="", role="")).title == ""
    assert desk.run(operations.task("job")).role is None


def test_what_changes_nothing_is_not_told(desk: BareTown) -> None:
    operations = desk.operations
    desk.run(operations.add_task("text", title="Title", tags=["a"], needs=[], task_id="job"))
    before = desk.dump()
    same = operations.update_task(
        "job", description="text", title="Title", priority="normal", tags=["a"], needs=[], role="", parent=""
    )
    desk.run(same)
    assert desk.dump() == before
    desk.run(operations.update_task("job", title="Other"))
    told = [event for event in desk.run(operations.latest_events(99)) if isinstance(event, TaskUpdated)]
    assert [(event.task, event.title) for event in told] == [("job", "Other")]


def test_a_new_priority_is_a_new_place(desk: BareTown) -> None:
    operations = desk.operations
    for name in ("a", "b"):
        desk.run(operations.add_task("x", task_id=f"free-{name}"))
        desk.run(operations.add_task("x", task_id=f"given-{name}", agent="ann"))
    desk.run(operations.update_task("free-b", priority="high"))
    desk.run(operations.update_task("given-b", priority="high"))
    assert [task.id for task in desk.run(operations.tasks(state="backlog"))] == ["free-b", "free-a"]
    assert orders(desk) == ["given-b", "given-a"]
    desk.run(operations.update_task("given-b", title="the text alone moves nothing"))
    assert orders(desk) == ["given-b", "given-a"]


def test_an_order_that_somebody_has_just_taken_is_not_given_twice(desk: BareTown) -> None:
    operations = desk.operations
    desk.run(operations.register_host("h", lease_ms=HOUR_MS, details={}))
    ann = desk.run(operations.place_agents("h", ["shell"], count=1)).agents[0]
    desk.run(operations.add_task("x", task_id="job", agent="ann"))
    batch = desk.run(operations.claim(ann.id, token="c", fence=ann.token or "", lease_ms=HOUR_MS))
    desk.run(operations.update_task("job", priority="urgent", description="y"))
    assert orders(desk) == ["job"]
    started = desk.run(operations.start_task(ann.id, ann.token or "", "job", "run"))
    assert started.task
    assert started.task.description == "y"
    assert all(desk.run(operations.renew(ann.id, batch.deliveries)))
    with pytest.raises(Refused, match="is running and stays as it is"):
        desk.run(operations.update_task("job", description="z"))


def state(town: BareTown, task: str) -> tuple[str, tuple[str, ...]]:
    found: Task = town.run(town.operations.task(task))
    return found.state, found.open_needs


def test_needs_are_replaced_as_a_whole(desk: BareTown) -> None:
    operations = desk.operations
    for name in ("one", "two", "done"):
        desk.run(operations.add_task("x", task_id=name))
    desk.run(operations.settle_task("complete", "done"))
    desk.run(operations.add_task("x", task_id="job", agent="ann", needs=["one"]))
    desk.run(operations.update_task("job", needs=["two", "done"]))
    assert state(desk, "job") == ("blocked", ("two",))
    desk.run(operations.settle_task("complete", "one"))
    assert state(desk, "job") == ("blocked", ("two",)), "it no longer needs it"
    desk.run(operations.update_task("job", needs=["done"]))
    assert state(desk, "job") == ("assigned", ())
    assert orders(desk) == ["job"]
    desk.run(operations.update_task("job", needs=["two"]))
    assert state(desk, "job") == ("blocked", ("two",))
    assert orders(desk) == []
    desk.run(operations.settle_task("complete", "two"))
    assert state(desk, "job") == ("assigned", ())


def test_what_was_finished_elsewhere_is_made_so(desk: BareTown) -> None:
    operations = desk.operations
    for outcome in ("completed", "failed", "cancelled"):
        added = desk.run(operations.add_task("x", task_id=outcome, agent="ann", finished=outcome))
        assert (added.task.state, added.task.assigned_to, added.message_id) == (outcome, "ann", None)
        assert desk.run(operations.reopen_task(outcome)).task.state == "assigned"
        desk.run(operations.settle_task("cancel", outcome))
    desk.run(operations.add_task("x", task_id="again", finished="completed"))
    desk.run(operations.add_task("x", task_id="next", needs=["again"]))
    assert state(desk, "next") == ("pending", ())
