"""Two who believe to hold the same thing: only the later one does, and what the earlier one says changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from tinytown.errors import Refused, StaleLease
from tinytown.model.ids import SUPERVISOR_ID
from tinytown.model.messages import Query
from tinytown.model.results import Batch
from tinytown.protocol.operations import TownOperations

from tests.protocol.conftest import BareTown

HOUR_MS = 3_600_000


@dataclass
class Loss:
    """A host that lost its lease in the middle of a round, and the one that found it out."""

    town: BareTown
    agent_id: str
    fence: str
    token: str
    batch: Batch

    @property
    def operations(self) -> TownOperations:
        return self.town.operations


@pytest.fixture
def loss(town: BareTown) -> Loss:
    operations, run = town.operations, town.run
    agent = run(operations.create_agent("ann", cli="shell", role="dev"))
    run(operations.add_task("work", agent="ann", task_id="job"))
    run(operations.add_task("free", role="dev", task_id="free"))
    run(operations.send("ann", Query(question="why?"), message_id="why", priority="urgent"))
    for host in ("old", "new"):
        run(operations.register_host(host, lease_ms=HOUR_MS, details={"name": host}))
    fence = run(operations.place_agents("old", ["shell"], count=1)).agents[0].token or ""
    batch = run(operations.claim(agent.id, token="c1", fence=fence, count=8, lease_ms=HOUR_MS))
    task = run(operations.start_task(agent.id, fence, "job", "run1")).task
    run(operations.start_round(agent.id, fence, "run1", "job"))
    assert task
    assert len(batch.deliveries) == 2
    town.command("ZADD", town.key("hosts"), 1, "old")  # its lease has run out
    run(operations.heartbeat("new", lease_ms=HOUR_MS))
    return Loss(town, agent.id, fence, task.token or "", batch)


def test_what_a_lost_host_held_is_free_at_once(loss: Loss) -> None:
    agent, task = loss.town.run(loss.operations.agent("ann")), loss.town.run(loss.operations.task("job"))
    assert (agent.state, agent.reason, agent.host, agent.token) == (
        "suspended",
        "its kernel's lease ran out",
        None,
        None,
    )
    assert (task.state, task.token, task.round_id, task.reason) == (
        "assigned",
        None,
        None,
        "its kernel's lease ran out",
    )
    assert agent.mail.queued == 2
    placed = loss.town.run(loss.operations.place_agents("new", ["shell"], count=1)).agents
    assert [agent.name for agent in placed] == ["ann"]
    again = loss.town.run(loss.operations.claim(loss.agent_id, token="c2", fence=placed[0].token or "", count=8))
    assert [(d.member, d.deliveries) for d in again.deliveries] == [
        (d.member, 1 if d.member.startswith("t") else 2)
        for d in loss.batch.deliveries  # the task is counted itself
    ]


@pytest.mark.parametrize("taken_over", [False, True])
def test_every_call_of_a_host_that_lost_its_lease_is_refused_and_changes_nothing(loss: Loss, taken_over: bool) -> None:
    if taken_over:
        loss.town.run(loss.operations.place_agents("new", ["shell"], count=1))
    operations, agent, fence = loss.operations, loss.agent_id, loss.fence
    for operation in (
        operations.heartbeat("old", lease_ms=HOUR_MS),
        operations.place_agents("old", ["shell"], count=5),
        operations.claim(agent, token="c2", fence=fence, acks=loss.batch.deliveries),
        operations.claim(agent, token="c1", fence=fence),
        operations.report_agent_state(agent, fence, "idle"),
        operations.release_agent(agent, fence, "suspended"),
        operations.start_task(agent, fence, "job", "run1"),
        operations.start_round(agent, fence, "run1", "job"),
        operations.claim_matching(agent, fence),
        operations.settle_round(
            agent,
            fence,
            "run1",
            loss.batch.deliveries,
            outcome="finished",
            mail="ack",
            task_ids=["job"],
            fate="complete",
        ),
        operations.settle_task("complete", "job", text="done", by=agent, token=loss.token),
        operations.settle_task("fail", "job", text="no", by=agent, token=loss.token),
        operations.settle_task("submit", "job", text="done", by=agent, token=loss.token),
        operations.settle_task("cancel", "job", by=agent, token=loss.token),
    ):
        error = loss.town.refusal(operation)
        assert isinstance(error, StaleLease), operation.command
        assert error.code == "stale_lease"


def test_the_late_mail_of_a_lost_host_changes_nothing(loss: Loss) -> None:
    placed = loss.town.run(loss.operations.place_agents("new", ["shell"], count=1)).agents[0]
    loss.town.run(loss.operations.claim(loss.agent_id, token="c2", fence=placed.token or "", count=8, lease_ms=HOUR_MS))
    before, given = loss.town.dump(), loss.batch.deliveries
    assert loss.town.run(loss.operations.ack(loss.agent_id, given)) == (False, False)
    assert loss.town.run(loss.operations.renew(loss.agent_id, given)) == (False, False)
    assert loss.town.run(loss.operations.nack(loss.agent_id, given)) == ("stale", "stale")
    assert loss.town.run(loss.operations.dead_letter(loss.agent_id, given, reason="x")) == ("stale", "stale")
    assert loss.town.dump() == before


def test_a_claim_with_late_acks_leaves_what_somebody_else_has(town: BareTown) -> None:
    operations = town.operations
    for number in range(2):
        town.run(operations.send("supervisor", Query(question="?"), message_id=f"m{number}"))
    first = town.run(operations.claim(SUPERVISOR_ID, token="one", lease_ms=HOUR_MS))
    town.command("ZADD", town.key(f"mail:{SUPERVISOR_ID}:leases"), 1, "qm0")
    second = town.run(operations.claim(SUPERVISOR_ID, token="two", lease_ms=HOUR_MS))
    assert [d.member for d in second.deliveries] == ["qm0"], "the older one comes back first"
    third = town.run(operations.claim(SUPERVISOR_ID, token="three", acks=first.deliveries, lease_ms=HOUR_MS))
    assert [d.member for d in third.deliveries] == ["qm1"]
    assert town.run(operations.ack(SUPERVISOR_ID, second.deliveries)) == (True,)


def test_an_ack_that_is_late_but_first_still_counts(town: BareTown) -> None:
    town.run(town.operations.send("supervisor", Query(question="?"), message_id="m"))
    batch = town.run(town.operations.claim(SUPERVISOR_ID, token="one", lease_ms=HOUR_MS))
    town.command("ZADD", town.key(f"mail:{SUPERVISOR_ID}:leases"), 1, "qm")
    assert town.run(town.operations.ack(SUPERVISOR_ID, batch.deliveries)) == (True,)


def test_nobody_settles_a_task_without_its_token(loss: Loss) -> None:
    operations, placed = (
        loss.operations,
        loss.town.run(loss.operations.place_agents("new", ["shell"], count=1)).agents[0],
    )
    for token in ("", loss.token, "999"):
        assert isinstance(
            loss.town.refusal(operations.settle_task("complete", "job", by=placed.id, token=token)), StaleLease
        )
    ben = loss.town.run(operations.create_agent("ben", cli="shell"))
    error = loss.town.refusal(operations.settle_task("complete", "job", by=ben.id, token=loss.token))
    assert isinstance(error, Refused)
    assert "belongs to ann" in error.message
    loss.town.run(operations.claim(placed.id, token="c2", fence=placed.token or "", count=8))
    task = loss.town.run(operations.start_task(placed.id, placed.token or "", "job", "run2")).task
    assert task
    assert int(task.token or 0) > int(loss.token)
    assert (
        loss.town.run(operations.settle_task("complete", "job", by=placed.id, token=task.token or "")).state
        == "completed"
    )


def test_an_agent_may_call_off_a_task_that_it_has_not_begun(town: BareTown) -> None:
    ann = town.run(town.operations.create_agent("ann", cli="shell"))
    town.run(town.operations.add_task("mine", agent="ann", task_id="mine"))
    town.run(town.operations.add_task("free", task_id="free"))
    for task in ("mine", "free"):
        assert town.run(town.operations.settle_task("cancel", task, by=ann.id)).state == "cancelled"


def test_an_empty_fence_opens_no_agent_but_for_its_mail(town: BareTown) -> None:
    ann = town.run(town.operations.create_agent("ann", cli="shell"))
    town.run(town.operations.add_task("work", agent="ann", task_id="job"))
    operations = town.operations
    for agent in (ann.id, "00000000-0000-4000-8000-000000000000"):
        for operation in (
            operations.report_agent_state(agent, "", "idle"),
            operations.release_agent(agent, "", "suspended"),
            operations.start_round(agent, "", "run", "job"),
            operations.start_task(agent, "", "job", "run"),
            operations.claim_matching(agent, ""),
            operations.settle_round(agent, "", "run", (), outcome="finished", mail="ack"),
        ):
            assert isinstance(town.refusal(operation), StaleLease)
    assert len(town.run(operations.claim(ann.id, token="c")).deliveries) == 1


def test_a_settled_round_told_again_after_the_lease_passed_on_is_still_known(loss: Loss) -> None:
    placed = loss.town.run(loss.operations.place_agents("new", ["shell"], count=1)).agents[0]
    fence = placed.token or ""
    batch = loss.town.run(loss.operations.claim(placed.id, token="c2", fence=fence, count=8))
    loss.town.run(loss.operations.start_task(placed.id, fence, "job", "run2"))
    operation = loss.operations.settle_round(
        placed.id, fence, "run2", batch.deliveries, outcome="finished", mail="ack", task_ids=["job"], fate="complete"
    )
    assert loss.town.run(operation) == ("completed",)
    loss.town.run(loss.operations.deregister_host("new", reason="shut down"))
    assert loss.town.run(operation) == ("completed",)


def test_only_one_holds_a_lease_of_the_town(town: BareTown) -> None:
    operations = town.operations
    assert town.run(operations.acquire_lease("journal", "h1", lease_ms=HOUR_MS))
    assert not town.run(operations.acquire_lease("journal", "h2", lease_ms=HOUR_MS))
    assert not town.run(operations.release_lease("journal", "h2"))
    assert town.run(operations.release_lease("journal", "h1"))
    assert town.run(operations.acquire_lease("journal", "h2", lease_ms=HOUR_MS))


def test_an_agent_that_people_want_again_while_its_kernel_lets_go_is_placed_again(town: BareTown) -> None:
    operations = town.operations
    town.run(operations.create_agent("ann", cli="shell"))
    town.run(operations.register_host("h1", lease_ms=HOUR_MS, details={"name": "h1"}))
    ann = town.run(operations.place_agents("h1", ["shell"], count=1)).agents[0]
    town.run(operations.set_desired_state("ann", "stopped"))
    town.run(operations.set_desired_state("ann", "running"))
    town.run(operations.release_agent(ann.id, ann.token or "", "stopped", reason="a person asked for it"))
    assert [agent.name for agent in town.run(operations.place_agents("h1", ["shell"], count=1)).agents] == ["ann"]


def test_an_illegal_transition_of_an_agent_is_refused_whole(town: BareTown) -> None:
    operations = town.operations
    town.run(operations.create_agent("ann", cli="shell"))
    town.run(operations.add_task("work", agent="ann", task_id="job"))
    town.run(operations.register_host("h1", lease_ms=HOUR_MS, details={"name": "h1"}))
    ann = town.run(operations.place_agents("h1", ["shell"], count=1)).agents[0]
    fence = ann.token or ""
    town.run(operations.claim(ann.id, token="c", fence=fence))
    town.run(operations.report_agent_state(ann.id, fence, "stopped"))
    for operation in (
        operations.release_agent(ann.id, fence, "error"),
        operations.report_agent_state(ann.id, fence, "idle"),
        operations.start_round(ann.id, fence, "run", "job"),
    ):
        error = town.refusal(operation)
        assert error.code == "refused"
        assert 'agent "ann" is stopped and cannot become' in error.message


def test_an_agent_that_people_stopped_while_its_kernel_shuts_down_is_stopped(town: BareTown) -> None:
    operations = town.operations
    town.run(operations.create_agent("ann", cli="shell"))
    town.run(operations.register_host("h1", lease_ms=HOUR_MS, details={"name": "h1"}))
    ann = town.run(operations.place_agents("h1", ["shell"], count=1)).agents[0]
    town.run(operations.set_desired_state("ann", "stopped"))
    town.run(operations.release_agent(ann.id, ann.token or "", "suspended", reason="shut down", retry_ms=0))
    assert town.run(operations.agent("ann")).state == "stopped"
    assert town.run(operations.place_agents("h1", ["shell"], count=1)).agents == ()


def test_an_agent_that_people_stopped_while_it_went_into_error_is_stopped_and_says_why(town: BareTown) -> None:
    operations = town.operations
    town.run(operations.create_agent("ann", cli="shell"))
    town.run(operations.register_host("h1", lease_ms=HOUR_MS, details={"name": "h1"}))
    ann = town.run(operations.place_agents("h1", ["shell"], count=1)).agents[0]
    town.run(operations.set_desired_state("ann", "stopped"))
    town.run(
        operations.release_agent(ann.id, ann.token or "", "error", reason="not logged in", retry_ms=0, failed=True)
    )
    ann = town.run(operations.agent("ann"))
    assert (ann.state, ann.reason) == ("stopped", "not logged in")
    assert town.run(operations.place_agents("h1", ["shell"], count=1)).agents == ()


@pytest.mark.parametrize("late", [False, True])
def test_a_drained_agent_is_stopped_by_the_release_that_finds_its_mailbox_empty(town: BareTown, late: bool) -> None:
    operations = town.operations
    town.run(operations.create_agent("ann", cli="shell"))
    town.run(operations.register_host("h1", lease_ms=HOUR_MS, details={"name": "h1"}))
    ann = town.run(operations.place_agents("h1", ["shell"], count=1)).agents[0]
    town.run(operations.set_desired_state("ann", "drained"))
    if late:  # the kernel has seen an empty mailbox a moment ago
        assert town.run(operations.add_task("work", agent="ann", task_id="job")).task.state == "assigned"
    town.run(operations.release_agent(ann.id, ann.token or "", "stopped", reason="it has finished what it was given"))
    now = town.run(operations.agent("ann"))
    assert (now.desired_state, now.state) == (("drained", "suspended") if late else ("stopped", "stopped"))
    placed = town.run(operations.place_agents("h1", ["shell"], count=1)).agents
    assert [agent.name for agent in placed] == (["ann"] if late else [])
    if not late:
        assert town.refusal(operations.add_task("work", agent="ann")).code == "refused"
