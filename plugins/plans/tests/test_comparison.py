"""Which side wins: the plan on definitions, the town on progress, and only with changes since the last sync."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tinytown.model.tasks import FINISHED, TASK_STATES, Task, TaskState
from tinytown_plans.comparison import BASE, Pull, Push, compare_pull, compare_push, entry_of
from tinytown_plans.plan_file import Plan, PlanMeta, PlanTask


def entry(**keys: Any) -> PlanTask:
    return PlanTask(**{"id": "job", "description": "do it", **keys})


def town_task(base: dict[str, str] | None = None, **fields: Any) -> Task:
    meta = {} if base is None else {BASE: base}
    return Task(**{"id": "job", "description": "do it", "meta": meta, **fields})


def base_of(base: str = "pending", agent: str = "") -> dict[str, str]:
    return {"status": base, "agent": agent}


def push(task: PlanTask, town: Task | None, default_agent: str = "") -> Push:
    plan = Plan(meta=PlanMeta(default_agent=default_agent), tasks=(task,))
    (change,) = compare_push(plan, {"job": town} if town else {}, str.lower)
    return change


def pull(task: PlanTask, town: Task | None, default_agent: str = "") -> Pull:
    plan = Plan(meta=PlanMeta(default_agent=default_agent), tasks=(task,))
    (change,) = compare_pull(plan, {"job": town} if town else {}, str.lower)
    return change


def test_a_task_missing_in_the_town_is_created_with_all_its_fields() -> None:
    change = push(entry(title="T", agent="ann"), None)
    assert (change.outcome, change.agent, change.finish) == ("created", "ann", None)
    assert change.fields["title"] == "T"
    assert change.base == {"status": "pending", "agent": "ann"}
    assert push(entry(), None, default_agent="bob").agent == "bob"
    assert push(entry(agent=""), None, default_agent="bob").agent == ""


@pytest.mark.parametrize("status", TASK_STATES)
def test_a_task_that_is_finished_in_the_plan_is_assigned_to_no_agent(status: TaskState) -> None:
    change = push(entry(status=status, agent="ann"), None)
    assert change.finish == (status if status in FINISHED else None)
    assert change.agent == ("" if status in FINISHED else "ann")


@pytest.mark.parametrize("state", TASK_STATES)
def test_texts_are_updated_unless_the_task_is_running_or_finished(state: TaskState) -> None:
    change = push(entry(title="new", tags=("a",)), town_task(base_of(state), state=state))
    if state in ("pending", "blocked", "assigned"):
        assert (change.outcome, change.changes) == ("updated", ("title", "tags"))
        assert change.fields == {"title": "new", "tags": ("a",)}
    else:
        assert (change.outcome, change.fields) == ("skipped", {})
        assert change.reason.startswith(f"it is {state}")
        assert "title, tags" in change.reason


def test_the_order_of_needs_is_not_a_change() -> None:
    task = entry(needs=("a", "b"))
    others = (PlanTask(id="a", description="x"), PlanTask(id="b", description="x"))
    plan = Plan(tasks=(task, *others))
    town = {id_: Task(id=id_, description="x", meta={BASE: base_of()}) for id_ in "ab"}
    change = compare_push(plan, {"job": town_task(base_of(), needs=("b", "a")), **town}, str)
    assert [change.outcome for change in change] == ["unchanged"] * 3
    assert [change.task.id for change in change] == ["a", "b", "job"], "needs first"


@pytest.mark.parametrize(
    ("agent", "base", "assigned", "assigns", "unassigns"),
    [
        ("ann", "", None, "ann", False),  # new in the plan
        ("ann", "bob", "bob", "ann", False),  # another one in the plan
        ("ann", "ann", "ann", "", False),
        ("Ann", "", "ann", "", False),  # the same agent by another spelling
        ("ann", "ann", "bob", "", False),  # reassigned in the town since
        ("ann", "ann", None, "", False),  # unassigned in the town since
        (None, "ann", "ann", "", True),  # no longer in the plan
        (None, "ann", "bob", "", False),
        (None, "", "bob", "", False),
    ],
)
def test_the_agent_that_was_changed_last_wins(
    agent: str | None, base: str, assigned: str | None, assigns: str, unassigns: bool
) -> None:
    town = town_task(base_of("pending", base), state="assigned" if assigned else "pending", assigned_to=assigned)
    change = push(entry(agent=agent), town)
    assert (change.agent, change.requeue) == (assigns, unassigns)
    assert change.outcome == ("updated" if assigns or unassigns else "unchanged")


def test_a_running_task_keeps_its_agent_and_the_plans_change_is_kept_for_later() -> None:
    town = town_task(base_of("pending", "bob"), state="running", assigned_to="bob")
    change = push(entry(agent="ann"), town)
    assert (change.outcome, change.agent, change.base) == ("skipped", "", None)
    after = msgspec.structs.replace(town, state="assigned")
    assert push(entry(agent="ann"), after).agent == "ann"


@pytest.mark.parametrize(
    ("status", "base", "state", "finish", "outcome"),
    [
        ("completed", "pending", "running", "completed", "updated"),  # a person wrote it into the plan
        ("failed", "assigned", "pending", "failed", "updated"),
        ("completed", "completed", "assigned", None, "skipped"),  # reopened in the town since
        ("pending", "pending", "completed", None, "unchanged"),  # the town is ahead
        ("completed", "pending", "completed", None, "unchanged"),  # both agree
        ("failed", "pending", "completed", None, "skipped"),  # they disagree
        ("pending", "completed", "completed", None, "skipped"),  # a plan reopens nothing
        ("running", "pending", "assigned", None, "unchanged"),
    ],
)
def test_a_plan_can_settle_a_task_and_change_its_state_in_no_other_way(
    status: TaskState, base: TaskState, state: TaskState, finish: TaskState | None, outcome: str
) -> None:
    change = push(entry(status=status), town_task(base_of(base), state=state))
    assert (change.finish, change.outcome) == (finish, outcome)
    assert bool(change.reason) == (outcome == "skipped")


def test_a_task_that_existed_before_the_plan_is_adopted() -> None:
    change = push(entry(), town_task(state="assigned", assigned_to="bob"))
    assert (change.outcome, change.base) == ("unchanged", {"status": "pending", "agent": ""})


@pytest.mark.parametrize("state", TASK_STATES)
@pytest.mark.parametrize("status", TASK_STATES)
def test_a_pull_writes_the_state_unless_the_plan_has_an_unpushed_outcome(status: TaskState, state: TaskState) -> None:
    change = pull(entry(status=status), town_task(base_of("pending"), state=state))
    if status == state:
        assert change.outcome == "unchanged"
    elif status in FINISHED and state not in FINISHED:
        assert (change.outcome, change.values) == ("skipped", {})
        assert "status" in change.reason
    else:
        assert (change.outcome, change.values) == ("updated", {"status": state})
        assert change.base == (None if state == "pending" else base_of(state))


def test_a_pull_writes_that_a_task_was_reopened() -> None:
    change = pull(entry(status="completed"), town_task(base_of("completed"), state="pending"))
    assert change.values == {"status": "pending"}


def test_a_pull_writes_the_agent_unless_the_plan_has_an_unpushed_one() -> None:
    claimed = town_task(base_of(), state="assigned", assigned_to="ann")
    assert pull(entry(), claimed).values == {"status": "assigned", "agent": "ann"}
    change = pull(entry(agent="bob"), claimed)
    assert change.values == {"status": "assigned"}
    assert change.reason == "changed in the plan and not pushed: agent"
    by_default = town_task(base_of("assigned", "ann"), state="assigned", assigned_to="ann")
    assert pull(entry(status="assigned"), by_default, default_agent="ann").outcome == "unchanged"


def test_a_pull_writes_the_agent_of_a_task_that_did_not_come_from_the_plan() -> None:
    change = pull(entry(agent="ann"), town_task(state="assigned", assigned_to="bob"))
    assert (change.values, change.base) == (
        {"status": "assigned", "agent": "bob"},
        {"status": "assigned", "agent": "bob"},
    )


def test_a_pull_keeps_unpushed_texts_and_names_them() -> None:
    change = pull(entry(title="new", description="other"), town_task(base_of()))
    assert (change.outcome, change.values) == ("skipped", {})
    assert change.reason == "changed in the plan and not pushed: description, title"
    assert pull(entry(title="new"), town_task(base_of(), state="completed")).outcome == "updated"


def test_a_pull_skips_tasks_that_the_town_does_not_have() -> None:
    assert pull(entry(status="running"), None).outcome == "skipped"


@pytest.mark.parametrize("table", [[], "x", 3, {"status": 3}, {"agent": None}])
def test_an_invalid_base_table_is_ignored(table: Any) -> None:
    town = Task(id="job", description="do it", meta={BASE: table})
    assert push(entry(), town).outcome == "unchanged"
    assert pull(entry(), town).outcome == "unchanged"


def test_an_entry_for_a_task_of_the_town_refers_to_known_tasks_only() -> None:
    town = town_task(needs=("a", "gone"), parent="gone", role="dev", assigned_to=None, state="blocked")
    change = entry_of(town, Plan(meta=PlanMeta(default_agent="ann")), {"a"})
    assert (change.needs, change.parent, change.role, change.status, change.agent) == (("a",), "", "dev", "blocked", "")
    assert entry_of(town, Plan(), {"a"}).agent is None
