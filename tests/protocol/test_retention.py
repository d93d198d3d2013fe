"""Nothing grows for ever: what is forgotten, when, and that what is still needed is not."""

from __future__ import annotations

import msgspec
import pytest
from tinytown.model.ids import SUPERVISOR_ID
from tinytown.model.messages import Query
from tinytown.model.round_records import RoundRecord
from tinytown.protocol.operations import TownOperations
from tinytown_cli import administration

from tests.protocol.conftest import BareTown

HOUR_MS = 3_600_000


def tidy(town: BareTown, **given: int) -> int:
    bounds = {"finished_age_ms": HOUR_MS, "finished_count": 1000, "events": 1000, **given}
    return town.run(administration.apply_retention(town.operations.keys, **bounds))


def test_dead_letters_are_bounded_and_the_oldest_go_first(town: BareTown) -> None:
    town.run(town.operations.setup({"dead_letters": 3}))
    for number in range(5):
        town.run(town.operations.send("supervisor", Query(question="?"), message_id=f"m{number}"))
        batch = town.run(town.operations.claim(SUPERVISOR_ID, token=f"c{number}"))
        town.run(town.operations.dead_letter(SUPERVISOR_ID, batch.deliveries, reason="x"))
        town.command("ZADD", town.key("dead"), "XX", number, f"m{number}")  # buried at different moments
    assert [letter.id for letter in town.run(administration.dead_letters(town.operations.keys))] == ["m4", "m3", "m2"]
    assert {key for key in town.dump() if key.startswith("dead:")} == {"dead:m2", "dead:m3", "dead:m4"}


@pytest.mark.parametrize("kept", [1, 3])
def test_the_latest_rounds_of_an_agent_are_kept(town: BareTown, kept: int) -> None:
    town.run(town.operations.setup({"rounds_kept": kept}))
    town.run(town.operations.create_agent("ann", cli="shell"))
    town.run(town.operations.register_host("h1", lease_ms=HOUR_MS, details={}))
    ann = town.run(town.operations.place_agents("h1", ["shell"], count=1)).agents[0]
    for number in range(5):
        town.run(
            town.operations.settle_round(
                ann.id,
                ann.token or "",
                f"r{number}",
                (),
                outcome="finished",
                mail="ack",
                record=msgspec.json.encode(RoundRecord(round_id=f"r{number}", outcome="finished")),
            )
        )
    records = town.run(administration.rounds(town.operations.keys, "ann", limit=9))
    assert [each.round_id for each in records] == [f"r{number}" for number in range(4, 4 - kept, -1)]
    assert town.run(town.operations.agent("ann")).rounds_completed == 5


def test_the_story_of_a_message_is_short_lived_however_it_began(town: BareTown) -> None:
    operations, run = town.operations, town.run
    run(operations.setup({"trace_ttl_s": 100, "max_deliveries": 1}))
    run(operations.create_agent("ann", cli="shell"))
    run(operations.add_task("work", agent="ann", task_id="job"))
    for name in ("a", "b", "c"):
        run(operations.send("supervisor", Query(question="?"), message_id=name))
    town.command("DEL", town.key("trace:b"))  # ran out while the message lay there
    batch = run(operations.claim(SUPERVISOR_ID, token="t", count=3))
    run(operations.ack(SUPERVISOR_ID, batch.deliveries[:1]))
    run(operations.nack(SUPERVISOR_ID, batch.deliveries[1:2], reason="failed:\nTraceback\r\n  boom\x85"))
    run(operations.dead_letter(SUPERVISOR_ID, batch.deliveries[2:], reason="unreadable"))
    run(administration.drop(operations.keys, "b"))
    lives = {key: ttl for key, _, ttl, _ in town.rows()}
    assert all(0 < lives[f"trace:{name}"] <= 100_000 for name in ("a", "b", "c", "job.1"))
    assert [line.what for line in run(administration.trace(operations.keys, "b"))] == [
        "leased t delivery 1",
        "dead failed: Traceback   boom\x85",
        "dropped",
    ]
    assert [line.what for line in run(administration.trace(operations.keys, "a"))] == [
        "queued for supervisor from supervisor",
        "leased t delivery 1",
        "acked",
    ]
    assert run(administration.trace(operations.keys, "unknown")) == ()


def test_the_event_stream_is_bounded(town: BareTown) -> None:
    for _ in range(500):
        town.run(town.operations.emit("agent_reported", {"agent": "ann", "text": "x"}))
    tidy(town, events=100)
    kept = town.command("XLEN", town.key("events"))
    assert 100 <= kept < 300, "about so many: the server drops whole blocks of a hundred"
    fcall = town.operations.emit("agent_reported", {"agent": "ann", "text": "x"}).command[1]
    town.command(
        "EVAL", "for i = 1, 101000 do redis.call('XADD', KEYS[1], '*', 'type', 'x') end", 1, town.key("events")
    )
    town.command("FCALL", fcall, 1, town.base, "op", "agent_reported", "agent", "ann", "text", "x")
    assert town.command("XLEN", town.key("events")) <= 100_100


def test_a_long_text_is_whole_in_the_record_and_cut_between_characters_in_the_event(town: BareTown) -> None:
    town.run(town.operations.add_task("work", task_id="job"))
    why = "é" * 300_000
    assert town.run(town.operations.settle_task("fail", "job", text=why)).reason == why
    event = town.events()[-1]
    assert event["reason"] == "é" * 2000 + "…"


def test_finished_tasks_are_forgotten_when_they_are_old(town: BareTown) -> None:
    for name in ("old", "new", "open"):
        town.run(town.operations.add_task("work", task_id=name, tags=["x"]))
    for name in ("old", "new"):
        town.run(town.operations.settle_task("complete", name))
    town.command("ZADD", town.key("tasks:finished"), 1, "old")
    assert tidy(town) == 1
    assert [task.id for task in town.run(town.operations.tasks())] == ["open", "new"]
    assert not [key for key in town.dump() if "old" in key]


def test_finished_tasks_beyond_so_many_are_forgotten_the_oldest_first(town: BareTown) -> None:
    for number in range(5):
        town.run(town.operations.add_task("work", task_id=f"t{number}"))
        town.run(town.operations.settle_task("cancel", f"t{number}"))
        town.command("ZADD", town.key("tasks:finished"), "XX", 10**13 + number, f"t{number}")
    assert tidy(town, finished_count=2) == 3
    assert sorted(task.id for task in town.run(town.operations.tasks())) == ["t3", "t4"]


def test_the_same_call_goes_on_forgetting_until_nothing_is_left(town: BareTown) -> None:
    for number in range(450):
        town.run(town.operations.add_task("work", task_id=f"t{number}"))
        town.run(town.operations.settle_task("cancel", f"t{number}"))
    operation = administration.apply_retention(
        town.operations.keys, finished_age_ms=HOUR_MS, finished_count=50, events=100
    )
    assert [town.run(operation) for _ in range(4)] == [200, 200, 0, 0]


def test_a_need_is_not_forgotten_while_somebody_waits_for_it_and_holds_up_nothing_else(town: BareTown) -> None:
    operations, run = town.operations, town.run
    run(operations.add_task("first", task_id="need"))
    run(operations.add_task("then", needs=["need"], task_id="waits"))
    run(operations.settle_task("fail", "need", text="no"))
    run(operations.add_task("other", task_id="other"))
    run(operations.settle_task("complete", "other"))
    assert tidy(town, finished_age_ms=-1000) == 1
    assert {task.id for task in run(operations.tasks())} == {"need", "waits"}


def test_what_is_behind_a_thousand_tasks_that_are_still_needed_is_forgotten(town: BareTown) -> None:
    operations, run = town.operations, town.run
    run(operations.add_task("waits for ever", task_id="waits"))
    for number in range(1_100):
        run(operations.add_task("needed", task_id=f"need{number}"))
        run(operations.settle_task("complete", f"need{number}"))
        town.command("SADD", town.key(f"task:need{number}:dependants"), "waits")
        town.command("ZADD", town.key("tasks:finished"), number, f"need{number}")
    for number in range(300):
        run(operations.add_task("other", task_id=f"other{number}"))
        run(operations.settle_task("complete", f"other{number}"))
        town.command("ZADD", town.key("tasks:finished"), 10_000 + number, f"other{number}")
    operation = administration.apply_retention(
        operations.keys, finished_age_ms=HOUR_MS, finished_count=10_000, events=100
    )
    assert sum(run(operation) for _ in range(6)) == 300
    run(operations.settle_task("complete", "waits"))
    assert sum(run(operation) for _ in range(12)) == 1_100  # what is needed no more is found again


def test_a_task_whose_need_was_forgotten_can_be_opened_again(town: BareTown) -> None:
    operations, run = town.operations, town.run
    run(operations.add_task("first", task_id="need"))
    run(operations.add_task("then", needs=["need"], task_id="waits"))
    run(operations.settle_task("fail", "need", text="no"))
    run(operations.settle_task("complete", "waits"))
    town.command("ZADD", town.key("tasks:finished"), 1, "need")
    assert tidy(town) == 1
    assert run(administration.reopen_task(operations.keys, "waits")).task.state == "pending"
    assert not [key for key in town.dump() if key.startswith("task:need")]


def test_a_removed_agent_leaves_nothing_behind(town: BareTown) -> None:
    operations, run = town.operations, town.run
    before = set(town.dump())
    ann = run(operations.create_agent("ann", cli="shell"))
    for name, needs in (("need", []), ("done", []), ("waits", ["need"]), ("open", [])):
        run(operations.add_task("work", agent="" if name == "need" else "ann", needs=needs, task_id=name))
    run(operations.settle_task("complete", "done"))
    run(operations.send("ann", Query(question="?"), message_id="m"))
    assert town.refusal(administration.remove_agent(operations.keys, "ann")).code == "refused"
    run(administration.remove_agent(operations.keys, "ann", force=True))
    assert [task.id for task in run(operations.tasks(state="backlog"))] == ["need", "open"]
    assert run(operations.task("waits")).agent_id is None
    assert [
        (letter.id, letter.agent, letter.reason) for letter in run(administration.dead_letters(operations.keys))
    ] == [("m", "ann", "agent ann was removed")]
    assert town.refusal(administration.redrive(operations.keys, "m")).hint == "tt dead drop m"
    run(administration.reopen_task(operations.keys, "done"))
    assert run(operations.task("done")).state == "pending"
    run(administration.drop(operations.keys, "all"))
    for task in ("waits", "open", "need", "done"):
        run(operations.settle_task("cancel", task))
    tidy(town, finished_count=0)
    left = {key for key in town.dump() if not key.startswith("trace:")} - before
    assert left == {"seq", "events"}
    assert not [key for key in town.dump() if ann.id in key]


def test_a_task_of_an_agent_that_is_gone_waits_for_its_needs_without_it(town: BareTown) -> None:
    operations, run = town.operations, town.run
    ann = run(operations.create_agent("ann", cli="shell"))
    run(operations.add_task("first", task_id="need"))
    run(operations.add_task("then", agent="ann", needs=["need"], task_id="waits"))
    for task in ("need", "waits"):
        run(operations.settle_task("complete", task))
    run(administration.remove_agent(operations.keys, "ann"))
    run(administration.reopen_task(operations.keys, "need"))
    task = run(administration.reopen_task(operations.keys, "waits")).task
    assert (task.state, task.agent_id, task.open_needs) == ("blocked", None, ("need",))
    assert not [key for key in town.dump() if ann.id in key]


def test_a_host_that_left_leaves_nothing_behind(town: BareTown) -> None:
    town.run(town.operations.register_host("h1", lease_ms=HOUR_MS, details={"name": "h1"}))
    town.run(town.operations.create_agent("ann", cli="shell"))
    town.run(town.operations.place_agents("h1", ["shell"], count=1))
    town.run(town.operations.deregister_host("h1", reason="shut down"))
    assert not [key for key in town.dump() if key.startswith("host")]


def test_a_lease_of_the_town_ends_by_itself(town: BareTown) -> None:
    town.run(town.operations.acquire_lease("journal", "h1", lease_ms=5000))
    assert [0 < ttl <= 5000 for key, _, ttl, _ in town.rows() if key == "lease:journal"] == [True]


def test_towns_on_one_server_do_not_see_each_other(town: BareTown) -> None:
    other = BareTown(town.client, "elsewhere")
    other.operations = TownOperations("elsewhere")
    town.run(town.operations.create_agent("ann", cli="shell"))
    other.run(other.operations.setup({}))
    assert other.run(other.operations.agents()) == ()
    assert other.refusal(other.operations.agent("ann")).code == "not_found"
