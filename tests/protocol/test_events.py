"""Every change is reported: once, in the same step, with the names that people know."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tinytown.model.events import EVENT_TYPES, Event, OtherEvent, TaskStateChanged, event_fields
from tinytown.model.ids import SUPERVISOR_ID
from tinytown.model.messages import Query
from tinytown.model.time import rfc3339
from tinytown.protocol.function_library import TOWN_LIBRARY
from tinytown_cli import administration
from tinytown_sinks import position_of, set_position

from tests.protocol.conftest import BareTown

HOUR_MS = 3_600_000
RFC3339 = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

#: What the library cannot see: lines that a kernel reads from a backend, and faults of plugins.
TOLD_BY_KERNELS = {"agent_activity", "sink_gap", "agent_reported", "plugin_reported"}
#: Function libraries of the command line and of plugins.
TOLD_BY_PLUGINS = {
    "agent_reclaimed",
    "agent_removed",
    "message_redriven",
    "task_deleted",
    "task_updated",
    "town_frozen",
    "town_thawed",
}
FORMER_MEMBERS = ("run", "wanted")  # beside the present ones for one release


def reported(town: BareTown, *types: str) -> list[dict[str, Any]]:
    """The members of the latest events of `types`, without id and time."""
    events = [event_fields(event) for event in town.run(town.operations.latest_events(1000))]
    return [
        {
            name: value
            for name, value in event.items()
            if name not in ("id", "at", "type", *FORMER_MEMBERS) and value is not None
        }
        for event in events
        if event["type"] in types
    ]


def test_every_type_is_told_by_the_library_or_by_kernels() -> None:
    emitted = set(re.findall(r"emit(?:_words)?\(base, '(\w+)'", TOWN_LIBRARY.source()))
    assert emitted | TOLD_BY_KERNELS | TOLD_BY_PLUGINS == set(EVENT_TYPES)
    assert not emitted & TOLD_BY_KERNELS


def test_the_life_of_a_task_is_told(town: BareTown) -> None:
    operations, run = town.operations, town.run
    run(operations.create_agent("ann", cli="shell"))
    run(operations.setup({"gates": 1}))
    run(operations.add_task("do it\nproperly", agent="ann", task_id="job"))
    run(operations.add_task("then", task_id="next", needs=["job"], title="Then"))
    run(operations.register_host("h1", lease_ms=HOUR_MS, details={"name": "here"}))
    ann = run(operations.place_agents("h1", ["shell"], count=1)).agents[0]
    fence = ann.token or ""
    batch = run(operations.claim(ann.id, token="c", fence=fence, count=8))
    task = run(operations.start_task(ann.id, fence, "job", "run")).task
    assert task
    run(operations.settle_task("submit", "job", text="done", by=ann.id, token=task.token or ""))
    run(
        operations.settle_round(
            ann.id, fence, "run", batch.deliveries, outcome="finished", mail="ack", task_ids=["job"]
        )
    )
    run(operations.record_verdict("job", "again", evidence="2 tests fail"))
    run(operations.settle_task("complete", "job"))
    run(administration.reopen_task(operations.keys, "job", reason="rejected"))
    run(operations.settle_task("cancel", "job", text="no more"))
    assert reported(town, "task_added") == [
        {"task": "job", "state": "pending", "title": "do it", "agent": "ann"},
        {"task": "next", "state": "pending", "title": "Then"},
    ]
    job: dict[str, Any] = {"task": "job", "agent": "ann", "title": "do it"}
    then = {"task": "next", "title": "Then"}
    assert reported(town, "task_state_changed") == [
        {**job, "old": "pending", "new": "assigned"},
        {**then, "old": "pending", "new": "blocked", "reason": "needs job (assigned)"},
        {**job, "old": "assigned", "new": "running"},
        {**job, "old": "running", "new": "verifying"},
        {**job, "old": "verifying", "new": "assigned", "reason": "2 tests fail"},
        {**job, "old": "assigned", "new": "completed"},
        {**then, "old": "blocked", "new": "pending", "reason": "all it needs is completed"},
        {**job, "old": "completed", "new": "assigned", "reason": "rejected"},
        {**then, "old": "pending", "new": "blocked", "reason": "needs job (assigned)"},
        {**job, "old": "assigned", "new": "cancelled", "reason": "no more"},
    ]


def test_the_life_of_an_agent_and_its_host_is_told(town: BareTown) -> None:
    operations, run = town.operations, town.run
    run(operations.create_agent("boss", cli="other"))
    run(operations.create_agent("ann", cli="shell", role="dev", parent="boss"))
    run(operations.add_task("work", agent="ann", task_id="job"))
    run(operations.register_host("h1", lease_ms=HOUR_MS, details={"name": "here"}))
    ann = run(operations.place_agents("h1", ["shell"], count=1)).agents[0]
    fence = ann.token or ""
    run(operations.report_agent_state(ann.id, fence, "idle"))
    batch = run(operations.claim(ann.id, token="c", fence=fence))
    run(operations.start_task(ann.id, fence, "job", "run"))
    run(operations.start_round(ann.id, fence, "run", "job"))
    run(
        operations.settle_round(
            ann.id,
            fence,
            "run",
            batch.deliveries,
            outcome="finished",
            mail="ack",
            task_ids=["job"],
            fate="complete",
            duration_ms=12,
            text="done",
        )
    )
    run(operations.set_desired_state("ann", "stopped", reason="enough"))
    run(operations.deregister_host("h1", reason="shut down"))
    run(administration.remove_agent(operations.keys, "ann"))
    assert reported(town, "agent_spawned")[1:] == [{"agent": "ann", "cli": "shell", "role": "dev", "parent": "boss"}]
    assert [event for event in reported(town, "agent_state_changed") if event["agent"] == "ann"] == [
        {"agent": "ann", "old": "starting", "new": "starting", "desired_state": "running"},
        {"agent": "ann", "old": "starting", "new": "idle", "desired_state": "running"},
        {"agent": "ann", "old": "idle", "new": "working", "desired_state": "running", "task": "job"},
        {"agent": "ann", "old": "working", "new": "stopped", "desired_state": "stopped", "reason": "shut down"},
    ]
    assert reported(town, "agent_desired_state_changed") == [
        {"agent": "ann", "desired_state": "stopped", "reason": "enough"}
    ]
    assert reported(town, "round_started") == [{"agent": "ann", "round_id": "run", "task": "job"}]
    assert reported(town, "round_ended") == [
        {"agent": "ann", "round_id": "run", "outcome": "finished", "task": "job", "duration_ms": 12}
    ]
    assert reported(town, "host_joined", "host_left") == [{"host": "here"}, {"host": "here", "reason": "shut down"}]
    assert reported(town, "agent_removed") == [{"agent": "ann"}]


def test_the_life_of_a_message_is_told_by_names(town: BareTown) -> None:
    operations, run = town.operations, town.run
    ann = run(operations.create_agent("ann", cli="shell"))
    run(operations.send(ann.id, Query(question="?"), message_id="m", priority="high", sender="conductor"))
    run(operations.send(SUPERVISOR_ID, Query(question="?"), message_id="n", sender=ann.nickname or ""))
    batch = run(operations.claim(ann.id, token="c"))
    run(operations.dead_letter(ann.id, batch.deliveries, reason="unreadable"))
    run(administration.redrive(operations.keys, "m"))
    assert reported(town, "message_sent") == [
        {"message": "m", "sender": "supervisor", "recipient": "ann", "category": "query", "priority": "high"},
        {"message": "n", "sender": "ann", "recipient": "supervisor", "category": "query", "priority": "normal"},
    ]
    assert reported(town, "message_dead") == [{"message": "m", "agent": "ann", "reason": "unreadable"}]
    assert reported(town, "message_redriven") == [{"message": "m", "agent": "ann"}]
    assert not [event for event in town.events() if ann.id in event.values()]


def test_a_refusal_and_a_repetition_tell_nothing(town: BareTown) -> None:
    town.run(town.operations.add_task("work", task_id="job"))
    operation = town.operations.settle_task("complete", "job")
    town.run(operation)
    count = len(town.events())
    town.run(operation)
    town.refusal(town.operations.settle_task("complete", "job"))
    assert len(town.events()) == count


def test_times_are_rfc_3339_in_utc_everywhere(town: BareTown) -> None:
    operations, run = town.operations, town.run
    run(operations.create_agent("ann", cli="shell"))
    run(operations.add_task("work", agent="ann", task_id="job"))
    run(operations.settle_task("complete", "job"))
    run(operations.register_host("h1", lease_ms=HOUR_MS, details={}))
    run(operations.send("supervisor", Query(question="?"), message_id="m"))
    batch = run(operations.claim(SUPERVISOR_ID, token="c"))
    run(operations.dead_letter(SUPERVISOR_ID, batch.deliveries, reason="x"))
    task, agent, host = run(operations.task("job")), run(operations.agent("ann")), run(operations.hosts())[0]
    moments = [
        task.since,
        task.created_at,
        task.updated_at,
        task.completed_at,
        agent.since,
        agent.created_at,
        host.joined_at,
    ]
    moments += [event.at for event in run(operations.latest_events(100))]
    moments += [line.at for line in run(administration.trace(operations.keys, "m"))] + [
        letter.at for letter in run(administration.dead_letters(operations.keys))
    ]
    order = run(operations.peek("ann")).messages
    assert order == ()
    run(administration.reopen_task(operations.keys, "job"))
    moments += [lying.message.created_at for lying in run(operations.peek("ann")).messages if lying.message]
    assert len(moments) > 15
    assert all(RFC3339.fullmatch(moment or "") for moment in moments)


@pytest.mark.parametrize(
    "ms", [0, 951_782_399_999, 951_782_400_000, 1_709_164_800_000, 1_735_689_599_999, 4_107_542_399_000]
)
def test_the_librarys_calendar_is_pythons(town: BareTown, ms: int) -> None:
    body = re.search(r"local function rfc3339.*?\nend\n", TOWN_LIBRARY.source(), re.DOTALL)
    assert body
    assert town.command("EVAL", body.group() + "return rfc3339(tonumber(ARGV[1]))", 0, ms).decode() == rfc3339(ms)


def test_a_stream_is_read_on_from_where_one_stopped(town: BareTown) -> None:
    operations, run = town.operations, town.run
    for vote in range(5):
        run(operations.emit("vote_cast", {"number": str(vote), "empty": ""}))
    events = run(operations.events_after("0", count=3))
    assert [number(event) for event in events] == ["0", "1", "2"]
    run(set_position(operations.keys, "journal", events[-1].id))
    cursor = run(position_of(operations.keys, "journal"))
    assert cursor == events[-1].id
    assert [number(event) for event in run(operations.events_after(cursor))] == ["3", "4"]
    assert [number(event) for event in run(operations.wait_for_events(cursor, block_ms=1))] == ["3", "4"]
    assert [number(event) for event in run(operations.latest_events(2))] == ["3", "4"]
    assert run(position_of(operations.keys, "nobody")) is None
    assert run(operations.wait_for_events(run(operations.latest_events(1))[0].id, block_ms=1)) == ()


def number(event: Event) -> str:
    assert isinstance(event, OtherEvent)
    return event.fields["number"]


def test_an_event_that_does_not_fit_its_type_is_kept_as_it_is(town: BareTown) -> None:
    town.run(town.operations.emit("round_ended", {"agent": "ann", "duration_ms": "soon"}))
    (event,) = town.run(town.operations.latest_events(1))
    assert isinstance(event, OtherEvent)
    assert (event.type, event.fields) == ("round_ended", {"agent": "ann", "duration_ms": "soon"})


def test_reassigning_tells_the_new_agent(town: BareTown) -> None:
    for name in ("ann", "ben"):
        town.run(town.operations.create_agent(name, cli="shell"))
    town.run(town.operations.add_task("work", agent="ann", task_id="job"))
    town.run(town.operations.assign_task("job", "ben"))
    event = town.run(town.operations.latest_events(1))[0]
    assert isinstance(event, TaskStateChanged)
    assert (event.old, event.new, event.agent) == ("assigned", "assigned", "ben")
