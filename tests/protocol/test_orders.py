"""A task that is assigned has one order in its agent's mailbox, whatever happens to either: no work is lost or done twice."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from tinytown.model.messages import Query
from tinytown.model.results import Delivery
from tinytown.model.tasks import Task
from tinytown.protocol.operations import TownOperations
from tinytown_cli import administration

from tests.protocol.conftest import BareTown

HOUR_MS = 3_600_000


@dataclass
class KernelContext:
    """A town in which one kernel hosts ann."""

    town: BareTown
    agent_id: str
    fence: str
    runs: int = 0

    @property
    def operations(self) -> TownOperations:
        return self.town.operations

    def claim(self) -> tuple[Delivery, ...]:
        self.runs += 1
        claim = self.operations.claim(self.agent_id, token=f"c{self.runs}", fence=self.fence, count=8, lease_ms=HOUR_MS)
        return self.town.run(claim).deliveries

    def begin(self, task: str) -> Task:
        started = self.town.run(self.operations.start_task(self.agent_id, self.fence, task, f"run{self.runs}"))
        assert not started.stale
        assert started.task
        return started.task

    def settle(self, deliveries: tuple[Delivery, ...], mail: str, fate: str = "again", *, task: str = "job") -> str:
        operation = self.operations.settle_round(
            self.agent_id,
            self.fence,
            f"run{self.runs}",
            deliveries,
            outcome={"ack": "finished", "nack": "failed", "return": "interrupted"}[mail],
            mail=mail,  # type: ignore[arg-type]
            fate=fate,  # type: ignore[arg-type]
            task_ids=[task] if task else [],
            reason="so it went",
        )
        return " ".join(self.town.run(operation))

    def inbox(self, agent: str = "ann") -> list[str]:
        return [lying.message.id for lying in self.town.run(self.operations.peek(agent)).messages if lying.message]

    def task(self, task: str = "job") -> Task:
        return self.town.run(self.operations.task(task))


@pytest.fixture
def desk(town: BareTown) -> KernelContext:
    for name in ("ann", "ben"):
        town.run(town.operations.create_agent(name, cli="shell" if name == "ann" else "other"))
    town.run(town.operations.register_host("h1", lease_ms=HOUR_MS, details={"name": "h1"}))
    ann = town.run(town.operations.place_agents("h1", ["shell"], count=1)).agents[0]
    town.run(town.operations.add_task("work", agent="ann", task_id="job"))
    return KernelContext(town, ann.id, ann.token or "")


def test_an_order_goes_with_its_task_to_another_agent(desk: KernelContext) -> None:
    assert desk.inbox() == ["job.1"]
    desk.town.run(desk.operations.assign_task("job", "ben"))
    assert (desk.inbox(), desk.inbox("ben")) == ([], ["job.2"])
    desk.town.run(desk.operations.assign_task("job", "ann"))
    assert (desk.inbox(), desk.inbox("ben")) == (["job.3"], [])


@pytest.mark.parametrize("verb", ["requeue", "complete", "cancel", "block"])
def test_an_order_that_is_out_of_date_is_called_off(desk: KernelContext, verb: str) -> None:
    desk.town.run(desk.operations.add_task("before", task_id="need"))
    if verb == "requeue":
        desk.town.run(administration.requeue_task(desk.operations.keys, "job"))
    elif verb == "block":
        desk.town.run(administration.add_need(desk.operations.keys, "job", "need"))
    else:
        desk.town.run(desk.operations.settle_task(verb, "job"))  # type: ignore[arg-type]
    assert desk.inbox() == []
    assert [line.what for line in desk.town.run(administration.trace(desk.operations.keys, "job.1"))][-1] == "withdrawn"


@pytest.mark.parametrize("way", ["nack", "round", "lease", "host"])
def test_an_order_that_was_called_off_while_a_kernel_had_it_does_not_come_back(desk: KernelContext, way: str) -> None:
    deliveries = desk.claim()
    desk.town.run(desk.operations.assign_task("job", "ben"))
    if way == "nack":
        assert desk.town.run(desk.operations.nack(desk.agent_id, deliveries)) == ("stale",)
    elif way == "round":
        assert desk.settle(deliveries, "nack") == "assigned"
    elif way == "lease":
        desk.town.command("ZADD", desk.town.key(f"mail:{desk.agent_id}:leases"), 1, deliveries[0].member)
        assert desk.claim() == ()
    else:
        desk.town.run(desk.operations.deregister_host("h1", reason="shut down"))
    assert (desk.inbox(), desk.inbox("ben")) == ([], ["job.2"])
    assert desk.task().assigned_to == "ben"


def test_a_round_that_could_not_begin_its_task_leaves_the_order_where_it_was(desk: KernelContext) -> None:
    deliveries = desk.claim()
    assert desk.settle(deliveries, "ack") == "assigned"
    assert desk.inbox() == ["job.1"]
    assert [delivery.deliveries for delivery in desk.claim()] == [1], "not counted: nobody tried"


def test_an_ack_does_not_take_the_order_of_a_task_that_nobody_has_begun(desk: KernelContext) -> None:
    deliveries = desk.claim()
    assert desk.town.run(desk.operations.ack(desk.agent_id, deliveries)) == (False,)
    assert desk.inbox() == ["job.1"]


@pytest.mark.parametrize(("mail", "deliveries", "attempts"), [("nack", 2, 2), ("return", 1, 1), ("ack", 1, 2)])
def test_a_task_that_is_to_be_done_again_keeps_its_order(
    desk: KernelContext, mail: str, deliveries: int, attempts: int
) -> None:
    batch = desk.claim()
    desk.begin("job")
    assert desk.settle(batch, mail) == "assigned"
    (again,) = desk.claim()
    assert (again.member, again.deliveries) == ("tjob.1", deliveries)
    assert desk.begin("job").attempts == attempts


def test_an_order_that_went_missing_during_a_round_is_given_anew(desk: KernelContext) -> None:
    batch = desk.claim()
    desk.begin("job")
    assert desk.town.run(desk.operations.ack(desk.agent_id, batch)) == (True,)
    assert desk.settle(batch, "nack") == "assigned"
    assert desk.inbox() == ["job.2"]
    desk.claim()
    desk.begin("job")
    desk.town.command("DEL", *(desk.town.key(f"mail:{desk.agent_id}:{part}") for part in ("leases", "bodies", "state")))
    desk.town.run(desk.operations.deregister_host("h1", reason="shut down"))
    assert desk.inbox() == ["job.3"]


def test_questions_that_rode_along_with_a_settled_task_are_not_settled_with_it(desk: KernelContext) -> None:
    desk.town.run(desk.operations.send("ann", Query(question="?"), message_id="why", priority="urgent"))
    batch = desk.claim()
    token = desk.begin("job").token or ""
    desk.town.run(desk.operations.settle_task("complete", "job", text="done", by=desk.agent_id, token=token))
    assert desk.settle(batch, "nack") == "completed", "the task was done before the round failed"
    assert desk.inbox() == ["why"]


def test_a_task_whose_order_dies_fails_visibly_and_comes_back_with_it(desk: KernelContext) -> None:
    for number in range(5):
        batch = desk.claim()
        desk.begin("job")
        state = desk.settle(batch, "nack")
        assert state == ("failed" if number == 4 else "assigned")
    assert desk.task().reason == "its order became a dead letter: so it went"
    assert [letter.id for letter in desk.town.run(administration.dead_letters(desk.operations.keys))] == ["job.1"]
    assert desk.town.run(administration.redrive(desk.operations.keys, "job.1")) == ("job.1",)
    assert (desk.task().state, desk.task().attempts, desk.inbox()) == ("assigned", 0, ["job.1"])
    assert [delivery.deliveries for delivery in desk.claim()] == [1]


def test_the_dead_order_of_a_task_that_went_on_is_not_delivered(desk: KernelContext) -> None:
    desk.town.run(desk.operations.dead_letter(desk.agent_id, desk.claim(), reason="unreadable"))
    desk.town.run(administration.reopen_task(desk.operations.keys, "job"))
    assert desk.inbox() == ["job.2"]
    desk.town.run(administration.redrive(desk.operations.keys, "all"))
    assert desk.inbox() == ["job.2"]


def test_emptying_a_mailbox_spares_the_orders(desk: KernelContext) -> None:
    desk.town.run(desk.operations.send("ann", Query(question="?"), message_id="why"))
    assert desk.town.run(administration.remove_message(desk.operations.keys, "ann", "all")) == ("why",)
    assert desk.inbox() == ["job.1"]


def test_a_message_that_only_looks_like_an_order_is_mail_like_any_other(desk: KernelContext) -> None:
    text = '"type":"task_assign"'
    desk.town.run(desk.operations.send("ann", Query(question=text), message_id="job.7"))
    order, query = desk.inbox()
    assert (order, query) == ("job.1", "job.7")
    desk.settle(desk.claim(), "nack", task="")
    assert desk.inbox() == ["job.1", "job.7"]


@pytest.mark.parametrize("passed", [True, False])
def test_a_submitted_task_waits_for_its_verdict(desk: KernelContext, passed: bool) -> None:
    desk.town.run(desk.operations.setup({"gates": 1}))
    batch = desk.claim()
    token = desk.begin("job").token or ""
    task = desk.town.run(desk.operations.settle_task("submit", "job", text="done", by=desk.agent_id, token=token))
    assert (task.state, task.result) == ("verifying", "done")
    assert desk.settle(batch, "ack", "complete") == "verifying"
    assert desk.inbox() == []
    task = desk.town.run(
        desk.operations.record_verdict(
            "job", "complete" if passed else "again", evidence="" if passed else "2 tests fail"
        )
    )
    if passed:
        assert (task.state, desk.inbox()) == ("completed", [])
    else:
        assert (task.state, task.reason, desk.inbox()) == ("assigned", "2 tests fail", ["job.2"])
        assert desk.claim()
        assert desk.begin("job").attempts == 2


def test_a_verified_task_whose_need_was_reopened_meanwhile_waits_for_it(desk: KernelContext) -> None:
    desk.town.run(desk.operations.setup({"gates": 1}))
    desk.town.run(desk.operations.add_task("before", task_id="need"))
    desk.town.run(desk.operations.settle_task("complete", "need"))
    desk.town.run(administration.add_need(desk.operations.keys, "job", "need"))
    desk.settle(desk.claim(), "return", task="")
    batch = desk.claim()
    desk.begin("job")
    desk.settle(batch, "ack", "complete")
    desk.town.run(administration.reopen_task(desk.operations.keys, "need"))
    assert desk.town.run(desk.operations.record_verdict("job", "complete")).state == "blocked"
    desk.town.run(desk.operations.settle_task("complete", "need"))
    assert (desk.task().state, desk.inbox()) == ("assigned", ["job.2"])


def test_completing_the_last_need_gives_the_order_in_the_same_step(desk: KernelContext) -> None:
    desk.town.run(desk.operations.add_task("then", agent="ben", needs=["job"], task_id="next", priority="high"))
    assert desk.task("next").reason == "needs job (assigned)"
    desk.town.run(desk.operations.settle_task("fail", "job", text="no"))
    assert desk.task("next").reason == "needs job (failed)"
    desk.town.run(administration.reopen_task(desk.operations.keys, "job"))
    batch = desk.claim()
    desk.begin("job")
    assert desk.settle(batch, "ack", "complete") == "completed"
    assert (desk.task("next").state, desk.inbox("ben")) == ("assigned", ["next.1"])


def test_what_people_may_read_of_a_task_comes_back_as_it_was_given(town: BareTown) -> None:
    origin = {"file": "plan.md", "raw": {"tags": [], "n": 12345678901234567890, "x": 0.1, "empty": {}}}
    meta = {"git": {"files": [], "depth": 1.5}, "notes": [1, None, "ü"]}
    town.run(
        town.operations.add_task(
            "work", task_id="job", origin=origin, meta=meta, tags=["a", "b"], title="Work", role="dev"
        )
    )
    town.run(administration.set_task_meta(town.operations.keys, "job", "beads", {"deps": []}))
    task = town.run(administration.set_task_meta(town.operations.keys, "job", "notes", None))
    assert (task.origin, task.meta) == (origin, {"git": meta["git"], "beads": {"deps": []}})
    assert (task.tags, task.title, task.role, task.headline) == (("a", "b"), "Work", "dev", "Work")


def test_the_backlog_is_ordered_by_priority_then_age(town: BareTown) -> None:
    for number, priority in enumerate(["low", "normal", "urgent", "high", "normal", "urgent"]):
        town.run(town.operations.add_task("x", task_id=f"t{number}", priority=priority))  # type: ignore[arg-type]
    ordered = ["t2", "t5", "t3", "t1", "t4", "t0"]
    assert [task.id for task in town.run(town.operations.tasks(state="backlog"))] == ordered
    town.run(town.operations.create_agent("ann", cli="shell"))
    assert town.run(administration.assign_backlog(town.operations.keys, "ann")) == tuple(ordered)
    assert [task.id for task in town.run(town.operations.tasks(agent="ann", state="assigned", limit=3))] == [
        "t5",
        "t4",
        "t3",
    ]


def test_an_idle_agent_takes_the_first_task_that_fits_it(town: BareTown) -> None:
    town.run(town.operations.add_task("x", task_id="other"))
    town.run(town.operations.add_task("x", task_id="tagged", tags=["python"]))
    town.run(town.operations.add_task("x", task_id="role", role="dev"))
    town.run(town.operations.create_agent("ann", cli="shell", role="dev", tags=["python"]))
    town.run(town.operations.create_agent("bob", cli="shell"))
    town.run(town.operations.register_host("h1", lease_ms=HOUR_MS, details={}))
    placed = town.run(town.operations.place_agents("h1", ["shell"], count=2)).agents
    ann, bob = sorted(placed, key=lambda agent: agent.name)
    taken = [town.run(town.operations.claim_matching(ann.id, ann.token or "")) for _ in range(3)]
    assert [assigned and assigned.task.id for assigned in taken] == ["tagged", "role", None]
    town.run(town.operations.setup({"auto_claim": 2}))
    assert town.run(town.operations.claim_matching(bob.id, bob.token or "")) is None
    town.run(town.operations.setup({"auto_claim": 1}))
    assigned = town.run(town.operations.claim_matching(bob.id, bob.token or ""))
    assert assigned
    assert assigned.task.id == "other"


def test_how_much_else_lies_on_the_backlog_makes_no_difference(town: BareTown) -> None:
    for number in range(1200):
        town.run(town.operations.add_task("x", task_id=f"idea-{number}", priority="high", tags=["idea"]))
    town.run(town.operations.add_task("x", task_id="late", role="dev"))
    town.run(town.operations.add_task("x", task_id="urgent", priority="urgent", tags=["python"]))
    town.run(town.operations.create_agent("ann", cli="shell", role="dev", tags=["python"]))
    town.run(town.operations.register_host("h1", lease_ms=HOUR_MS, details={}))
    (ann,) = town.run(town.operations.place_agents("h1", ["shell"], count=1)).agents
    taken = [town.run(town.operations.claim_matching(ann.id, ann.token or "")) for _ in range(3)]
    assert [assigned and assigned.task.id for assigned in taken] == ["urgent", "late", None]


def test_a_task_whose_words_change_on_the_backlog_is_found_by_the_new_ones_alone(town: BareTown) -> None:
    town.run(town.operations.add_task("x", task_id="t", tags=["python"]))
    town.run(administration.update_task(town.operations, "t", tags=["rust"]))
    for name, tag in (("ann", "python"), ("bob", "rust")):
        town.run(town.operations.create_agent(name, cli="shell", tags=[tag]))
    town.run(town.operations.register_host("h1", lease_ms=HOUR_MS, details={}))
    placed = town.run(town.operations.place_agents("h1", ["shell"], count=2)).agents
    ann, bob = sorted(placed, key=lambda agent: agent.name)
    assert town.run(town.operations.claim_matching(ann.id, ann.token or "")) is None
    assert town.run(town.operations.claim_matching(bob.id, bob.token or ""))
    base = town.operations.keys.base
    assert town.client.command("ZCARD", f"{base}:backlog:words") == 0


def test_a_word_may_have_blanks_and_be_the_beginning_of_another(town: BareTown) -> None:
    for id_, tag in (("both", "front end"), ("one", "front"), ("end", "front end 2")):
        town.run(town.operations.add_task("x", task_id=id_, tags=[tag]))
    town.run(town.operations.register_host("h1", lease_ms=HOUR_MS, details={}))
    for name, tag, found in (("ann", "front", "one"), ("bob", "front end", "both"), ("cat", "front end 2", "end")):
        town.run(town.operations.create_agent(name, cli="shell", tags=[tag]))
        agent = town.run(town.operations.place_agents("h1", ["shell"], count=1)).agents[0]
        claimed = [town.run(town.operations.claim_matching(agent.id, agent.token or "")) for _ in range(2)]
        assert [each and each.task.id for each in claimed] == [found, None]


def test_a_task_wakes_the_one_that_it_is_for_among_all_that_sleep(town: BareTown) -> None:
    town.run(town.operations.setup({"max_agents": 2_000}))
    others = [town.operations.create_agent(f"other-{number}", cli="shell", tags=["c"]) for number in range(1_100)]
    town.client.run_all(others)
    wanted = town.run(town.operations.create_agent("wanted", cli="shell", tags=["docs"]))
    town.run(town.operations.register_host("h1", lease_ms=HOUR_MS, details={"capacity": "5000"}))
    while placed := town.run(town.operations.place_agents("h1", ["shell"], count=5_000)).agents:
        fences = [(agent.id, agent.token or "") for agent in placed]
        town.client.run_all([town.operations.report_agent_state(*fence, "idle") for fence in fences])
        town.client.run_all([town.operations.release_agent(*fence, "suspended", reason="asleep") for fence in fences])
    town.run(town.operations.add_task("x", tags=["docs"]))
    assert town.command("ZRANGE", town.key("placement"), 0, -1) == [wanted.id.encode()]


def test_a_part_of_a_task_that_waits_waits_too(town: BareTown) -> None:
    add, run = town.operations.add_task, town.run
    run(add("x", task_id="first"))
    run(add("x", task_id="whole", needs=["first"], tags=["a"]))
    run(add("x", task_id="part", parent="whole", tags=["a"]))
    run(add("x", task_id="part-of-part", parent="part", tags=["a"]))
    run(town.operations.create_agent("ann", cli="shell", tags=["a"]))
    run(town.operations.register_host("h1", lease_ms=HOUR_MS, details={}))
    ann = run(town.operations.place_agents("h1", ["shell"], count=1)).agents[0]

    def backlog() -> list[str]:
        return [task.id for task in run(town.operations.tasks(state="backlog"))]

    assert backlog() == ["first"]
    assert run(town.operations.claim_matching(ann.id, ann.token or "")) is None
    assert "part of whole, which waits" in town.refusal(town.operations.claim_from_backlog("part", "ann")).message
    run(town.operations.settle_task("complete", "first", text=""))
    assert backlog() == ["whole", "part", "part-of-part"]
    # What needs its own parts waits for them, and they do not wait for it; so it is with what is finished, or held for no time.
    run(add("x", task_id="sum", tags=["b"]))
    run(add("x", task_id="piece", parent="sum", tags=["b"]))
    run(administration.add_need(town.operations.keys, "sum", "piece"))
    run(administration.hold_task(town.operations.keys, "sum", reason="nobody works on it"))
    assert "piece" in backlog()
    # A date puts off the parts, but not theirs.
    run(administration.hold_task(town.operations.keys, "whole", reason="later", until="2099-01-01T00:00:00Z"))
    assert ("part" in backlog(), "part-of-part" in backlog()) == (False, True)
    run(town.operations.settle_task("cancel", "whole", text=""))
    assert "part" in backlog()
    # Parents in a circle hold up nobody, and nothing hangs.
    run(administration.update_task(town.operations, "part", parent="part-of-part"))
    assert "part" in backlog()


def test_a_verdict_on_what_was_submitted_before_says_nothing_of_what_was_submitted_since(desk: KernelContext) -> None:
    desk.town.run(desk.operations.setup({"gates": 1}))
    for round_id in ("run1", "run2"):
        batch = desk.claim()
        desk.begin("job")
        assert desk.settle(batch, "ack", "complete") == "verifying"
        for late in ("complete", "again", "fail"):
            verdict = desk.operations.record_verdict("job", late, round_id=f"not {round_id}", evidence="long ago")  # type: ignore[arg-type]
            assert desk.town.run(verdict).state == "verifying"
        if round_id == "run1":
            desk.town.run(desk.operations.record_verdict("job", "again", round_id=round_id, evidence="2 tests fail"))
    task = desk.town.run(desk.operations.record_verdict("job", "fail", round_id="run2", evidence="still 1 test fails"))
    assert (task.state, task.reason, desk.inbox()) == ("failed", "still 1 test fails", [])


def test_a_task_that_was_begun_without_its_round_has_been_tried_once_when_it_is_begun_again(
    desk: KernelContext,
) -> None:
    desk.claim()
    desk.begin("job")
    desk.runs += 1  # the answer was lost with the connection, and the kernel tries anew
    assert desk.begin("job").attempts == 1
    desk.town.run(desk.operations.start_round(desk.agent_id, desk.fence, f"run{desk.runs}", "job"))
    desk.runs += 1  # here there was a round, whose outcome nobody could store
    assert desk.begin("job").attempts == 2


@pytest.mark.parametrize("take", ["requeue", "hold"])
def test_a_round_that_people_take_the_task_from_is_no_attempt(desk: KernelContext, take: str) -> None:
    desk.claim()
    assert desk.begin("job").attempts == 1
    operation = (
        administration.requeue_task(desk.operations.keys, "job")
        if take == "requeue"
        else administration.hold_task(desk.operations.keys, "job", reason="wait")
    )
    assert desk.town.run(operation).attempts == 0


def test_a_dead_order_that_was_replaced_since_does_not_bring_its_task_back(desk: KernelContext) -> None:
    desk.town.run(desk.operations.dead_letter(desk.agent_id, desk.claim(), reason="unreadable"))
    assert desk.task().state == "failed"
    desk.town.run(administration.reopen_task(desk.operations.keys, "job"))
    desk.town.run(desk.operations.settle_task("fail", "job", text="a person knows better"))
    desk.town.run(administration.redrive(desk.operations.keys, "job.1"))
    assert (desk.task().state, desk.inbox()) == ("failed", [])


def test_a_message_with_the_id_of_a_coming_order_does_not_take_its_place(desk: KernelContext) -> None:
    desk.town.run(desk.operations.send("ann", Query(question="?"), message_id="later.1"))
    assert desk.town.run(desk.operations.add_task("work", agent="ann", task_id="later")).message_id == "later.2"
    assert desk.inbox() == ["job.1", "later.1", "later.2"]


def test_what_was_finished_elsewhere_is_made_so(town: BareTown) -> None:
    operations = town.operations
    town.run(operations.create_agent("ann", cli="shell"))
    for outcome in ("completed", "failed", "cancelled"):
        added = town.run(operations.add_task("x", task_id=outcome, agent="ann", finished=outcome))
        assert (added.task.state, added.task.assigned_to, added.message_id) == (outcome, "ann", None)
        assert town.run(administration.reopen_task(operations.keys, outcome)).task.state == "assigned"
        town.run(operations.settle_task("cancel", outcome))
    town.run(operations.add_task("x", task_id="again", finished="completed"))
    town.run(operations.add_task("x", task_id="next", needs=["again"]))
    task = town.run(operations.task("next"))
    assert (task.state, task.open_needs) == ("pending", ())
