"""What a task says may change while nobody works on it: where it stands, who it waits for and how it is found follow."""

from __future__ import annotations

import pytest
from tinytown.errors import Refused
from tinytown.model.details import TaskChanges
from tinytown.model.events import TaskUpdated
from tinytown.model.tasks import Task
from tinytown_cli import administration
from tinytown_testing.bare_town import BareTown

HOUR_MS = 3_600_000


@pytest.fixture
def desk(bare_town: BareTown) -> BareTown:
    bare_town.run(bare_town.operations.create_agent("ann", cli="shell"))
    return bare_town


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
    after = desk.run(administration.update_task(operations, "job", title="New", tags=["b", "c"]))
    assert (after.title, after.tags) == ("New", ("b", "c"))
    assert (after.description, after.role, after.parent, after.created_at) == ("old", "dev", "p", before.created_at)
    assert [task.id for task in desk.run(operations.tasks(tag="c"))] == ["job"]
    assert desk.run(operations.tasks(tag="a")) == ()
    assert desk.run(administration.update_task(operations, "job", title="", role="")).title == ""
    assert desk.run(operations.task("job")).role is None


def test_what_changes_nothing_is_not_told(desk: BareTown) -> None:
    operations = desk.operations
    desk.run(operations.add_task("text", title="Title", tags=["a"], needs=[], task_id="job"))
    before = desk.dump()
    same: TaskChanges = {"description": "text", "title": "Title", "priority": "normal", "tags": ["a"]}
    desk.run(administration.update_task(operations, "job", **same, needs=[], role="", parent=""))
    assert desk.dump() == before
    desk.run(administration.update_task(operations, "job", title="Other"))
    reported = [event for event in desk.run(operations.latest_events(99)) if isinstance(event, TaskUpdated)]
    assert [(event.task, event.title) for event in reported] == [("job", "Other")]


def test_a_new_priority_is_a_new_place(desk: BareTown) -> None:
    operations = desk.operations
    for name in ("a", "b"):
        desk.run(operations.add_task("x", task_id=f"free-{name}"))
        desk.run(operations.add_task("x", task_id=f"given-{name}", agent="ann"))
    desk.run(administration.update_task(operations, "free-b", priority="high"))
    desk.run(administration.update_task(operations, "given-b", priority="high"))
    assert [task.id for task in desk.run(operations.tasks(state="backlog"))] == ["free-b", "free-a"]
    assert orders(desk) == ["given-b", "given-a"]
    desk.run(administration.update_task(operations, "given-b", title="the text alone moves nothing"))
    assert orders(desk) == ["given-b", "given-a"]


def test_an_order_that_somebody_has_just_taken_is_not_given_twice(desk: BareTown) -> None:
    operations = desk.operations
    desk.run(operations.register_host("h", lease_ms=HOUR_MS, details={}))
    ann = desk.run(operations.place_agents("h", ["shell"], count=1)).agents[0]
    desk.run(operations.add_task("x", task_id="job", agent="ann"))
    batch = desk.run(operations.claim(ann.id, token="c", fence=ann.token or "", lease_ms=HOUR_MS))
    desk.run(administration.update_task(operations, "job", priority="urgent", description="y"))
    assert orders(desk) == ["job"]
    started = desk.run(operations.start_task(ann.id, ann.token or "", "job", "run"))
    assert started.task
    assert started.task.description == "y"
    assert all(desk.run(operations.renew(ann.id, batch.deliveries)))
    with pytest.raises(Refused, match="is running and stays as it is"):
        desk.run(administration.update_task(operations, "job", description="z"))


def state(town: BareTown, task: str) -> tuple[str, tuple[str, ...]]:
    found: Task = town.run(town.operations.task(task))
    return found.state, found.open_needs


def test_needs_are_replaced_as_a_whole(desk: BareTown) -> None:
    operations = desk.operations
    for name in ("one", "two", "done"):
        desk.run(operations.add_task("x", task_id=name))
    desk.run(operations.settle_task("complete", "done"))
    desk.run(operations.add_task("x", task_id="job", agent="ann", needs=["one"]))
    desk.run(administration.update_task(operations, "job", needs=["two", "done"]))
    assert state(desk, "job") == ("blocked", ("two",))
    desk.run(operations.settle_task("complete", "one"))
    assert state(desk, "job") == ("blocked", ("two",)), "it no longer needs it"
    desk.run(administration.update_task(operations, "job", needs=["done"]))
    assert state(desk, "job") == ("assigned", ())
    assert orders(desk) == ["job"]
    desk.run(administration.update_task(operations, "job", needs=["two"]))
    assert state(desk, "job") == ("blocked", ("two",))
    assert orders(desk) == []
    desk.run(operations.settle_task("complete", "two"))
    assert state(desk, "job") == ("assigned", ())
