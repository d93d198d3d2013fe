"""Every call of a town, made twice in a row as a client does whose connection broke: one effect, one answer."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from tinytown.errors import TinytownError
from tinytown.model.agents import Agent
from tinytown.model.ids import SUPERVISOR_ID
from tinytown.model.messages import Query
from tinytown.model.results import Batch
from tinytown.protocol.operation import Operation
from tinytown.protocol.operations import TownOperations
from tinytown_cli import administration

from tests.protocol.conftest import BareTown, without_times

HOUR_MS = 3_600_000


@dataclass
class Scene:
    """A town in the middle of its work, for a call to fall into."""

    town: BareTown
    ann: Agent
    batch: Batch
    fence: str
    token: str

    @property
    def operations(self) -> TownOperations:
        return self.town.operations


@pytest.fixture
def scene(town: BareTown) -> Scene:
    """ann works on task `now` with a question beside it, `next` waits for it, ben has a task, one is on the backlog."""
    operations, run = town.operations, town.run
    ann = run(operations.create_agent("ann", cli="shell", role="dev"))
    run(operations.create_agent("ben", cli="other"))
    run(operations.create_agent("cat", cli="other"))
    run(operations.register_host("h1", lease_ms=HOUR_MS, details={"name": "here"}))
    run(operations.add_task("first", agent="ann", task_id="now"))
    run(operations.add_task("then", needs=["now"], agent="ann", task_id="next"))
    run(operations.add_task("bens", agent="ben", task_id="bens"))
    for number in range(3):
        run(operations.add_task("free", role="dev", task_id=f"free{number}"))
    run(operations.add_task("over", task_id="over"))
    run(operations.settle_task("complete", "over"))
    run(operations.send("ann", Query(question="why?"), priority="urgent", message_id="why"))
    run(operations.send("supervisor", Query(question="and?"), message_id="and"))
    for name in ("ill", "bad"):
        run(operations.send("supervisor", Query(question="x"), message_id=name, priority="urgent"))
        sick = run(operations.claim(SUPERVISOR_ID, token=name))
        run(operations.dead_letter(SUPERVISOR_ID, sick.deliveries, reason="unreadable"))
    placed = run(operations.place_agents("h1", ["shell"], count=1)).agents[0]
    fence = placed.token or ""
    batch = run(operations.claim(ann.id, token="claim", fence=fence, count=8, lease_ms=HOUR_MS))
    started = run(operations.start_task(ann.id, fence, "now", "run"))
    run(operations.start_round(ann.id, fence, "run", "now"))
    assert started.task
    assert len(batch.deliveries) == 2
    return Scene(town, ann, batch, fence, started.task.token or "")


#: A use of each method of TownOperations. A list is several uses.
USES: dict[str, Callable[[Scene], Operation[Any] | list[Operation[Any]]]] = {
    "send": lambda s: s.operations.send("ben", Query(question="again?")),
    "claim": lambda s: s.operations.claim(SUPERVISOR_ID, token="c", acks=s.batch.deliveries),
    "ack": lambda s: s.operations.ack(s.ann.id, s.batch.deliveries[:1]),
    "renew": lambda s: s.operations.renew(s.ann.id, s.batch.deliveries),
    "nack": lambda s: [
        s.operations.nack(s.ann.id, s.batch.deliveries),
        s.operations.nack(s.ann.id, s.batch.deliveries, delay_ms=HOUR_MS, counts=False),
    ],
    "dead_letter": lambda s: s.operations.dead_letter(s.ann.id, s.batch.deliveries, reason="unreadable"),
    "peek": lambda s: s.operations.peek("ann"),
    "add_task": lambda s: [
        s.operations.add_task("more", agent="ben"),
        s.operations.add_task("more", needs=["now"]),
        s.operations.add_task("more", finished="failed"),
    ],
    "task": lambda s: s.operations.task("now"),
    "tasks": lambda s: s.operations.tasks(),
    "assign_task": lambda s: s.operations.assign_task("bens", "ben"),
    "start_task": lambda s: s.operations.start_task(s.ann.id, s.fence, "now", "another"),
    "settle_task": lambda s: [
        s.operations.settle_task("complete", "now", text="done", by=s.ann.id, token=s.token),
        s.operations.settle_task("fail", "bens", text="no"),
        s.operations.settle_task("cancel", "free0"),
    ],
    "record_verdict": lambda s: [
        s.operations.setup({"gates": 1}),
        s.operations.settle_task("submit", "now", by=s.ann.id, token=s.token),
        s.operations.record_verdict("now", "again", evidence="it does not compile"),
    ],
    "claim_from_backlog": lambda s: s.operations.claim_from_backlog("free0", "ben"),
    "claim_matching": lambda s: s.operations.claim_matching(s.ann.id, s.fence),
    "create_agent": lambda s: s.operations.create_agent("dan", cli="shell"),
    "agent": lambda s: s.operations.agent("ann"),
    "agents": lambda s: s.operations.agents(),
    "set_desired_state": lambda s: [
        s.operations.set_desired_state("ann", "paused"),
        s.operations.set_desired_state("ben", "stopped"),
        s.operations.set_desired_state("ben", "running"),
    ],
    "place_agents": lambda s: s.operations.place_agents("h1", ["other"], count=1),
    "report_agent_state": lambda s: s.operations.report_agent_state(s.ann.id, s.fence, "draining", "soon"),
    "release_agent": lambda s: s.operations.release_agent(s.ann.id, s.fence, "error", retry_ms=HOUR_MS, failed=True),
    "start_round": lambda s: s.operations.start_round(s.ann.id, s.fence, "another", "now"),
    "settle_round": lambda s: [
        s.operations.settle_round(
            s.ann.id,
            s.fence,
            "run",
            s.batch.deliveries,
            outcome="failed",
            mail="nack",
            task_ids=["now"],
            delay_ms=HOUR_MS,
        ),
        s.operations.settle_round(
            s.ann.id,
            s.fence,
            "run",
            s.batch.deliveries,
            outcome="finished",
            mail="ack",
            task_ids=["now"],
            fate="complete",
        ),
    ],
    "charge_round": lambda s: s.operations.charge_round(s.ann.id, "late", "1000 200 300 4000", task_ids=["now"]),
    "set_budgets": lambda s: s.operations.set_budgets({"day_usd": 0, "town_tokens": 5}),
    "register_host": lambda s: [
        s.operations.register_host("h2", lease_ms=HOUR_MS, details={"name": "there"}),
        s.operations.register_host("h1", lease_ms=HOUR_MS, details={"name": "here"}),
    ],
    "heartbeat": lambda s: s.operations.heartbeat("h1", lease_ms=HOUR_MS),
    "deregister_host": lambda s: s.operations.deregister_host("h1", reason="shut down"),
    "hosts": lambda s: s.operations.hosts(),
    "acquire_lease": lambda s: s.operations.acquire_lease("sink", "h1", lease_ms=HOUR_MS),
    "release_lease": lambda s: s.operations.release_lease("held", "h1"),
    "setup": lambda s: s.operations.setup({"gates": 1}),
    "status": lambda s: s.operations.status(),
    "plugin_data": lambda s: s.operations.plugin_data("rules"),
    "plugin_field": lambda s: s.operations.plugin_field("rules", "colours"),
    "set_plugin_field": lambda s: [
        s.operations.set_plugin_field("rules", "colours", ["blue"], expected=None),
        s.operations.set_plugin_field("rules", "colours", ["red"], expected=["blue"]),
        s.operations.set_plugin_field("rules", "colours", None),
    ],
    "emit": lambda s: s.operations.emit("agent_reported", {"agent": "ann", "text": "on it"}),
    "latest_events": lambda s: s.operations.latest_events(5),
    "events_from": lambda s: s.operations.events_from("-", count=5),
    "events_after": lambda s: s.operations.events_after("0"),
    "wait_for_events": lambda s: s.operations.wait_for_events("0", block_ms=1),
}

#: Where the second answer differs by design: `send` then says that the id was known.
ANSWERS_DIFFER = {"send"}


def reported(answer: Any) -> str:
    """An answer as text without its times."""
    return without_times({"answer": ("", msgspec.to_builtins(answer))})


def test_every_call_of_a_town_is_in_the_table() -> None:
    methods = {
        name for name, value in inspect.getmembers(TownOperations, inspect.isfunction) if not name.startswith("_")
    }
    assert methods == set(USES)


@pytest.mark.parametrize("name", USES)
def test_a_call_sent_twice_acts_once_and_answers_the_same(name: str, scene: Scene) -> None:
    scene.town.run(scene.operations.acquire_lease("held", "h1", lease_ms=HOUR_MS))
    uses = USES[name](scene)
    for operation in uses if isinstance(uses, list) else [uses]:
        first = scene.town.run(operation)
        after = without_times(scene.town.dump())
        second = scene.town.run(operation)
        assert without_times(scene.town.dump()) == after
        if name not in ANSWERS_DIFFER:
            assert reported(second) == reported(first)
        assert operation.repeatable


def test_a_message_sent_twice_is_one_and_the_second_answer_says_so(scene: Scene) -> None:
    operation = scene.operations.send("ben", Query(question="again?"))
    first, second = scene.town.run(operation), scene.town.run(operation)
    assert (first.new, second.new) == (True, False)
    assert first.message_id == second.message_id
    assert [lying.message.id for lying in scene.town.run(scene.operations.peek("ben")).messages if lying.message].count(
        first.message_id
    ) == 1


def test_a_repeated_call_says_what_it_did_even_when_others_came_between(scene: Scene) -> None:
    done = scene.operations.settle_task("complete", "now", text="done")
    scene.town.run(done)
    scene.town.run(administration.reopen_task(scene.operations.keys, "now", reason="rejected"))
    assert scene.town.run(done).state == "assigned", "an old completion undid the reopening"


def test_agents_placed_by_an_answer_that_was_lost_are_told_again(scene: Scene) -> None:
    operation = scene.operations.place_agents("h1", ["other"], count=5)
    placed = scene.town.run(operation).agents
    assert sorted(agent.name for agent in placed) == ["ben", "cat"]
    again = scene.town.run(operation).agents
    assert [(agent.id, agent.token) for agent in again] == [(agent.id, agent.token) for agent in placed]


def test_what_was_answered_is_forgotten_after_a_while(scene: Scene) -> None:
    for uses in USES.values():
        use = uses(scene)
        for operation in use if isinstance(use, list) else [use]:
            with contextlib.suppress(TinytownError):
                scene.town.run(operation)
    remembered = {key: ttl for key, _, ttl, _ in scene.town.rows() if key.startswith("op:")}
    assert remembered
    assert all(0 < ttl <= 300_000 for ttl in remembered.values())
