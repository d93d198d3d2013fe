"""Who wins: the plan on what is to be done, the town on how far it is, and of both only what is news."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tinytown.model.tasks import FINISHED, TASK_STATES, Task, TaskState
from tinytown_plans.comparing import BASE, Pull, Push, compare_pull, compare_push, entry_of
from tinytown_plans.reading import Plan, PlanMeta, PlanTask


def entry(**keys: Any) -> PlanTask:
    return PlanTask(**{"id": "job", "description": "do it", **keys})


def there(base: dict[str, str] | None = None, **fields: Any) -> Task:
    meta = {} if base is None else {BASE: base}
    return Task(**{"id": "job", "description": "do it", "meta": meta, **fields})


def known_as(base: str = "pending", agent: str = "") -> dict[str, str]:
    return {"status": base, "agent": agent}


def push(task: PlanTask, town: Task | None, default_agent: str = "") -> Push:
    plan = Plan(meta=PlanMeta(default_agent=default_agent), tasks=(task,))
    (found,) = compare_push(plan, {"job": town} if town else {}, str.lower)
    return found


def pull(task: PlanTask, town: Task | None, default_agent: str = "") -> Pull:
    plan = Plan(meta=PlanMeta(default_agent=default_agent), tasks=(task,))
    (found,) = compare_pull(plan, {"job": town} if town else {}, str.lower)
    return found


def test_what_is_not_in_the_town_is_made_with_everything_it_says() -> None:
    found = push(entry(title="T", agent="ann"), None)
    assert (found.outcome, found.agent, found.finish) == ("created", "ann", None)
    assert found.fields["title"] == "T"
    assert found.base == {"status": "pending", "agent": "ann"}
    assert push(entry(), None, default_agent="bob").agent == "bob"
    assert push(entry(agent=""), None, default_agent="bob").agent == ""


@pytest.mark.parametrize("status", TASK_STATES)
def test_what_ended_before_it_came_to_the_town_is_given_to_nobody(status: TaskState) -> None:
    found = push(entry(status=status, agent="ann"), None)
    assert found.finish == (status if status in FINISHED else None)
    assert found.agent == ("" if status in FINISHED else "ann")


@pytest.mark.parametrize("state", TASK_STATES)
def test_texts_go_over_unless_somebody_works_on_it_or_it_is_finished(state: TaskState) -> None:
    found = push(entry(title="new", tags=("a",)), there(known_as(state), state=state))
    if state in ("pending", "blocked", "assigned"):
        assert (found.outcome, found.changes) == ("updated", ("title", "tags"))
        assert found.fields == {"title": "new", "tags": ("a",)}
    else:
        assert (found.outcome, found.fields) == ("skipped", {})
        assert found.reason.startswith(f"it is {state}")
        assert "title, tags" in found.reason


def test_the_order_of_needs_is_no_change() -> None:
    task = entry(needs=("a", "b"))
    others = (PlanTask(id="a", description="x"), PlanTask(id="b", description="x"))
    plan = Plan(tasks=(task, *others))
    town = {id_: Task(id=id_, description="x", meta={BASE: known_as()}) for id_ in "ab"}
    found = compare_push(plan, {"job": there(known_as(), needs=("b", "a")), **town}, str)
    assert [each.outcome for each in found] == ["unchanged"] * 3
    assert [each.task.id for each in found] == ["a", "b", "job"], "needs first"


@pytest.mark.parametrize(
    ("agent", "base", "assigned", "gives", "takes"),
    [
        ("ann", "", None, "ann", False),  # new in the plan
        ("ann", "bob", "bob", "ann", False),  # another one in the plan
        ("ann", "ann", "ann", "", False),
        ("Ann", "", "ann", "", False),  # the same one by another name
        ("ann", "ann", "bob", "", False),  # given away in the town since
        ("ann", "ann", None, "", False),  # taken away in the town since
        (None, "ann", "ann", "", True),  # no longer in the plan
        (None, "ann", "bob", "", False),
        (None, "", "bob", "", False),
    ],
)
def test_of_two_agents_the_newer_word_counts(
    agent: str | None, base: str, assigned: str | None, gives: str, takes: bool
) -> None:
    town = there(known_as("pending", base), state="assigned" if assigned else "pending", assigned_to=assigned)
    found = push(entry(agent=agent), town)
    assert (found.agent, found.requeue) == (gives, takes)
    assert found.outcome == ("updated" if gives or takes else "unchanged")


def test_the_agent_of_a_running_task_stays_and_the_plans_word_is_not_forgotten() -> None:
    town = there(known_as("pending", "bob"), state="running", assigned_to="bob")
    found = push(entry(agent="ann"), town)
    assert (found.outcome, found.agent, found.base) == ("skipped", "", None)
    after = msgspec.structs.replace(town, state="assigned")
    assert push(entry(agent="ann"), after).agent == "ann"


@pytest.mark.parametrize(
    ("status", "base", "state", "finish", "outcome"),
    [
        ("completed", "pending", "running", "completed", "updated"),  # a person wrote it into the plan
        ("failed", "assigned", "pending", "failed", "updated"),
        ("completed", "completed", "assigned", None, "skipped"),  # opened again in the town since
        ("pending", "pending", "completed", None, "unchanged"),  # the town is ahead
        ("completed", "pending", "completed", None, "unchanged"),  # both say so
        ("failed", "pending", "completed", None, "skipped"),  # they do not agree
        ("pending", "completed", "completed", None, "skipped"),  # a plan opens nothing
        ("running", "pending", "assigned", None, "unchanged"),
    ],
)
def test_a_plan_may_say_that_a_task_ended_and_nothing_else_about_how_far_it_is(
    status: TaskState, base: TaskState, state: TaskState, finish: TaskState | None, outcome: str
) -> None:
    found = push(entry(status=status), there(known_as(base), state=state))
    assert (found.finish, found.outcome) == (finish, outcome)
    assert bool(found.reason) == (outcome == "skipped")


def test_a_task_that_was_there_before_the_plan_is_adopted() -> None:
    found = push(entry(), there(state="assigned", assigned_to="bob"))
    assert (found.outcome, found.base) == ("unchanged", {"status": "pending", "agent": ""})


@pytest.mark.parametrize("state", TASK_STATES)
@pytest.mark.parametrize("status", TASK_STATES)
def test_a_pull_writes_the_towns_state_unless_a_person_wrote_an_end_that_was_not_pushed(
    status: TaskState, state: TaskState
) -> None:
    found = pull(entry(status=status), there(known_as("pending"), state=state))
    if status == state:
        assert found.outcome == "unchanged"
    elif status in FINISHED and state not in FINISHED:
        assert (found.outcome, found.values) == ("skipped", {})
        assert "status" in found.reason
    else:
        assert (found.outcome, found.values) == ("updated", {"status": state})
        assert found.base == (None if state == "pending" else known_as(state))


def test_a_pull_after_a_task_was_opened_again_says_so() -> None:
    found = pull(entry(status="completed"), there(known_as("completed"), state="pending"))
    assert found.values == {"status": "pending"}


def test_a_pull_writes_who_has_it_unless_the_plan_names_somebody_that_was_not_pushed() -> None:
    claimed = there(known_as(), state="assigned", assigned_to="ann")
    assert pull(entry(), claimed).values == {"status": "assigned", "agent": "ann"}
    found = pull(entry(agent="bob"), claimed)
    assert found.values == {"status": "assigned"}
    assert found.reason == "changed here and not pushed: agent"
    by_default = there(known_as("assigned", "ann"), state="assigned", assigned_to="ann")
    assert pull(entry(status="assigned"), by_default, default_agent="ann").outcome == "unchanged"


def test_a_pull_writes_who_has_a_task_that_never_came_from_the_plan() -> None:
    found = pull(entry(agent="ann"), there(state="assigned", assigned_to="bob"))
    assert (found.values, found.base) == (
        {"status": "assigned", "agent": "bob"},
        {"status": "assigned", "agent": "bob"},
    )


def test_a_pull_leaves_texts_that_were_changed_here_and_says_which() -> None:
    found = pull(entry(title="new", description="other"), there(known_as()))
    assert (found.outcome, found.values) == ("skipped", {})
    assert found.reason == "changed here and not pushed: description, title"
    assert pull(entry(title="new"), there(known_as(), state="completed")).outcome == "updated"


def test_what_the_town_does_not_have_is_left_alone_by_a_pull() -> None:
    assert pull(entry(status="running"), None).outcome == "skipped"


@pytest.mark.parametrize("table", [[], "x", 3, {"status": 3}, {"agent": None}])
def test_a_table_that_somebody_else_wrote_is_no_base(table: Any) -> None:
    town = Task(id="job", description="do it", meta={BASE: table})
    assert push(entry(), town).outcome == "unchanged"
    assert pull(entry(), town).outcome == "unchanged"


def test_an_entry_for_a_task_of_the_town_speaks_of_known_tasks_only() -> None:
    town = there(needs=("a", "gone"), parent="gone", role="dev", assigned_to=None, state="blocked")
    found = entry_of(town, Plan(meta=PlanMeta(default_agent="ann")), {"a"})
    assert (found.needs, found.parent, found.role, found.status, found.agent) == (("a",), "", "dev", "blocked", "")
    assert entry_of(town, Plan(), {"a"}).agent is None
