"""The operations of administration: what they do, what they refuse, and that one that is sent twice acts once."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tinytown.errors import REPLY_CODES, NotFound
from tinytown.model.ids import SUPERVISOR_ID
from tinytown.model.messages import Query
from tinytown.model.results import Batch
from tinytown.model.tasks import Task
from tinytown.protocol import Keys, Operation, TownOperations
from tinytown_cli import administration
from tinytown_testing.bare_town import BareTown, without_times

HOUR_MS = 3_600_000
Make = Callable[[Keys], Operation[Any]]


@pytest.fixture
def town(bare_town: BareTown) -> BareTown:
    """ann works on task `now` and `next` waits for it, ben has `bens`, three tasks are on the backlog, `over` is completed.

    The supervisor has the message `and`, and `ill` and `bad` among the dead letters. The account ``parked`` is parked, `h1` is a
    host. A round of ann's has ended.
    """
    operations, run = bare_town.operations, bare_town.run
    ann = run(operations.create_agent("ann", cli="shell"))
    run(operations.create_agent("ben", cli="other", max_rounds=2))
    run(operations.register_host("h1", lease_ms=HOUR_MS, details={"name": "here"}))
    run(operations.add_task("first", agent="ann", task_id="now"))
    run(operations.add_task("then", needs=["now"], agent="ann", task_id="next"))
    run(operations.add_task("bens", agent="ben", task_id="bens"))
    for number in range(3):
        run(operations.add_task("free", task_id=f"free{number}"))
    run(operations.add_task("over", finished="completed", task_id="over"))
    for name in ("ill", "bad"):
        run(operations.send("supervisor", Query(question="x"), message_id=name))
    dead(bare_town, claim(bare_town))
    run(operations.send("supervisor", Query(question="and?"), message_id="and"))
    fence = (
        run(operations.place_agents("h1", {"shell": ""}, count=1, accounts={"shell": "parked"})).agents[0].token or ""
    )
    run(
        operations.settle_round(
            ann.id,
            fence,
            "r1",
            (),
            outcome="rate_limited",
            mail="return",
            throttled_ms=HOUR_MS,
            record=b'{"round_id":"r1","outcome":"rate_limited","ended_at":"2026-01-31T09:30:00.125Z","task":"now"}',
        )
    )
    assert run(operations.start_task(ann.id, fence, "now", "r2")).task
    run(operations.start_round(ann.id, fence, "r2", "now"))
    return bare_town


def claim(town: BareTown) -> Batch:
    return town.run(town.operations.claim(SUPERVISOR_ID, token="c", count=9, lease_ms=HOUR_MS))


def dead(town: BareTown, batch: Batch) -> None:
    town.run(town.operations.dead_letter(SUPERVISOR_ID, batch.deliveries, reason="unreadable"))


def update(keys: Keys, task: str, **changes: Any) -> Operation[Task]:
    return administration.update_task(TownOperations(keys.town), task, **changes)


#: Uses of each operation, with what they answer.
USES: dict[str, list[tuple[Make, object]]] = {
    "redrive": [
        (lambda keys: administration.redrive(keys, "ba"), ["bad"]),
        (lambda keys: administration.redrive(keys, "all"), ["ill"]),
    ],
    "drop": [
        (lambda keys: administration.drop(keys, "ba"), ["bad"]),
        (lambda keys: administration.drop(keys, "all"), ["ill"]),
    ],
    "find_message": [
        (lambda keys: administration.find_message(TownOperations(keys.town), "conductor", "and"), ...),
        (
            lambda keys: administration.find_message(TownOperations(keys.town), "supervisor", "gone"),
            {"agent": "supervisor", "messages": []},
        ),
    ],
    "remove_message": [
        (lambda keys: administration.remove_message(keys, "conductor", "an"), ["and"]),
        (lambda keys: administration.remove_message(keys, "supervisor", "all"), []),
    ],
    "trace": [
        (
            lambda keys: administration.trace(keys, "and"),
            [{"at": "TIME", "what": "queued for supervisor from supervisor"}],
        ),
        (lambda keys: administration.trace(keys, "unknown"), []),
    ],
    "add_need": [(lambda keys: administration.add_need(keys, "bens", "now"), ...)],
    "update_task": [
        (lambda keys: update(keys, "bens", description="bens, and quickly", priority="urgent", tags=["b"]), ...),
        (lambda keys: update(keys, "bens", needs=["now"]), ...),
        (lambda keys: update(keys, "free0", title="Free", priority="low", tags=["a", "b"]), ...),
        (lambda keys: update(keys, "next", needs=[]), ...),
    ],
    "dead_letters": [(administration.dead_letters, ...)],
    "hold_task": [
        (lambda keys: administration.hold_task(keys, "now", reason="wait"), ...),
        (lambda keys: administration.hold_task(keys, "bens", reason="wait", until="2100-01-01T00:00:00Z"), ...),
    ],
    "release_task": [
        (lambda keys: administration.hold_task(keys, "bens", reason="wait"), ...),
        (lambda keys: administration.release_task(keys, "bens"), ...),
    ],
    "reopen_task": [(lambda keys: administration.reopen_task(keys, "over"), ...)],
    "requeue_task": [(lambda keys: administration.requeue_task(keys, "bens"), ...)],
    "current_task": [
        (lambda keys: administration.current_task(keys, "ann"), ...),
        (lambda keys: administration.current_task(keys, "ben"), ...),
    ],
    "delete_task": [(lambda keys: administration.delete_task(keys, "ben"), "bens")],
    "apply_retention": [
        (
            lambda keys: administration.apply_retention(keys, finished_age_ms=2**40, finished_count=99, events=1000),
            0,
        ),
    ],
    "assign_backlog": [(lambda keys: administration.assign_backlog(keys, "ben"), ["free0", "free1", "free2"])],
    "remove_agent": [(lambda keys: administration.remove_agent(keys, "ben", force=True), "ben")],
    "reset_round_count": [(lambda keys: administration.reset_round_count(keys, "ben", max_rounds=7), "ben")],
    "rounds": [
        (lambda keys: administration.rounds(keys, "ben"), []),
        (lambda keys: administration.rounds(keys, task="no", round_id="r1"), ...),
    ],
    "unpark_account": [
        (lambda keys: administration.unpark_account(keys, "parked", reason="a person knows better"), True),
        (lambda keys: administration.unpark_account(keys, "parked"), False),
    ],
    "set_task_meta": [
        (lambda keys: administration.set_task_meta(keys, "now", "git", {"files": []}), ...),
        (lambda keys: administration.set_task_meta(keys, "now", "git", None), ...),
    ],
    "freeze": [(lambda keys: administration.freeze(keys, reason="the bill"), True)],
    "thaw": [
        (lambda keys: administration.thaw(keys, reason="nothing to thaw"), False),
        (lambda keys: administration.freeze(keys, reason="the bill"), True),
        (lambda keys: administration.thaw(keys, reason="it is paid"), True),
    ],
    "sweep": [(administration.sweep, [])],
}


def shown(answer: Any) -> Any:
    """An answer as plain values without its times."""
    return msgspec.json.decode(re.sub(r"20\d\d-\d\d-\d\dT[\d:.]+Z", "TIME", msgspec.json.encode(answer).decode()))


def test_every_operation_is_covered_here() -> None:
    made = {
        name
        for name, value in inspect.getmembers(administration, inspect.isfunction)
        if value.__module__ == administration.__name__ and not name.startswith("_")
    }
    assert made == set(USES)


@pytest.mark.parametrize("name", USES)
def test_an_operation_sent_twice_acts_once_and_answers_the_same(name: str, town: BareTown) -> None:
    for make, answer in USES[name]:
        operation = make(town.operations.keys)
        first = town.run(operation)
        after = without_times(town.dump())
        assert shown(town.run(operation)) == shown(first)
        assert without_times(town.dump()) == after
        assert operation.repeatable
        assert answer is ... or shown(first) == answer


def test_a_message_is_found_wherever_it_is_in_its_mailbox(town: BareTown) -> None:
    town.run(town.operations.send("ann", Query(question="later"), message_id="later", not_before_ms=2**42))
    claim(town)
    boxes = [town.run(town.operations.peek(agent)) for agent in ("ann", "supervisor")]
    assert {entry.place for box in boxes for entry in box.messages} == {"delayed", "queued", "leased"}
    for box in boxes:
        for entry in box.messages:
            assert entry.message is not None
            found = town.run(administration.find_message(town.operations, box.agent, entry.message.id))
            assert found.messages == (entry,)


def test_a_need_makes_a_task_wait(town: BareTown) -> None:
    task = town.run(administration.add_need(town.operations.keys, "bens", "now"))
    assert (task.state, task.needs, task.open_needs) == ("blocked", ("now",), ("now",))
    assert town.run(administration.add_need(town.operations.keys, "bens", "over")).needs == ("now", "over")


def test_resetting_the_round_count_keeps_the_limit_unless_one_is_given(town: BareTown) -> None:
    town.command("HSET", town.key(f"agent:{town.run(town.operations.agent('ben')).id}"), "rounds_completed", 2)
    town.run(administration.reset_round_count(town.operations.keys, "ben"))
    ben = town.run(town.operations.agent("ben"))
    assert (ben.rounds_completed, ben.max_rounds) == (0, 2)


def test_a_round_is_found_by_its_task_despite_an_unreadable_record(town: BareTown) -> None:
    town.command("LPUSH", town.key(f"agent:{town.run(town.operations.agent('ann')).id}:rounds"), '{"task":"now"}')
    (record,) = town.run(administration.rounds(town.operations.keys, task="now"))
    assert (record.round_id, record.outcome) == ("r1", "rate_limited")


def test_a_sweep_releases_what_a_lost_kernel_held(town: BareTown) -> None:
    town.command("ZADD", town.key("hosts"), 1, "h1")
    assert town.run(administration.sweep(town.operations.keys)) == ("h1",)
    assert town.run(town.operations.agent("ann")).state == "suspended"


#: What the state of the town forbids, by code.
REFUSED: dict[str, tuple[str, Make]] = {
    "a finished task takes no new need": ("refused", lambda keys: administration.add_need(keys, "over", "free1")),
    "a task does not need itself": ("refused", lambda keys: administration.add_need(keys, "bens", "bens")),
    "a cycle of two": ("refused", lambda keys: administration.add_need(keys, "now", "next")),
    "a finished task is not requeued": ("refused", lambda keys: administration.requeue_task(keys, "over")),
    "a finished task is not changed": ("refused", lambda keys: update(keys, "over", title="x")),
    "a changed task does not need itself": ("refused", lambda keys: update(keys, "bens", needs=["bens"])),
    "a changed task closes no cycle": (
        "refused",
        lambda keys: update(keys, "free0", title="x", needs=["bens", "last"]),
    ),
    "an order is not removed": ("refused", lambda keys: administration.remove_message(keys, "ben", "bens.1")),
    "a letter that nobody knows": ("not_found", lambda keys: administration.redrive(keys, "nothing")),
    "a dropped letter that nobody knows": ("not_found", lambda keys: administration.drop(keys, "nothing")),
    "a message that nobody knows": ("not_found", lambda keys: administration.remove_message(keys, "ben", "nothing")),
    "no message at all": ("not_found", lambda keys: administration.remove_message(keys, "ben", "")),
    "a task in progress is not deleted": ("refused", lambda keys: administration.delete_task(keys, "now")),
    "a task that others need is not deleted": ("refused", lambda keys: administration.delete_task(keys, "free0")),
    "a hosted agent keeps its count": ("refused", lambda keys: administration.reset_round_count(keys, "ann")),
    "a stopped agent takes no tasks": ("refused", lambda keys: administration.assign_backlog(keys, "ben")),
    "the human side takes no tasks": ("refused", lambda keys: administration.assign_backlog(keys, "supervisor")),
    "the human side counts no rounds": ("refused", lambda keys: administration.reset_round_count(keys, SUPERVISOR_ID)),
    "an unknown task is not requeued": ("not_found", lambda keys: administration.requeue_task(keys, "nothing")),
    "an unknown task is not changed": ("not_found", lambda keys: update(keys, "nothing", title="x")),
    "an unknown task is not needed": ("not_found", lambda keys: update(keys, "bens", needs=["nothing"])),
    "an unknown agent has no mail": ("not_found", lambda keys: administration.remove_message(keys, "nobody", "all")),
    "an unknown agent takes no tasks": ("not_found", lambda keys: administration.assign_backlog(keys, "nobody")),
    "an unknown agent has no rounds": ("not_found", lambda keys: administration.rounds(keys, "nobody")),
    "an unknown task needs nothing": ("not_found", lambda keys: administration.add_need(keys, "nothing", "now")),
    "nothing needs an unknown task": ("not_found", lambda keys: administration.add_need(keys, "bens", "nothing")),
}


@pytest.mark.parametrize("step", REFUSED)
def test_the_towns_state_forbids(town: BareTown, step: str) -> None:
    town.run(town.operations.add_task("last", needs=["free0"], task_id="last"))
    town.run(town.operations.set_desired_state("ben", "stopped"))
    code, make = REFUSED[step]
    error = town.refusal(make(town.operations.keys))
    assert isinstance(error, REPLY_CODES[code])
    assert (error.code, bool(error.hint)) == (code, True)


def test_a_cycle_of_many_is_refused(bare_town: BareTown) -> None:
    town = bare_town
    for number in range(6):
        town.run(town.operations.add_task("x", task_id=f"t{number}", needs=[f"t{number - 1}"] if number else []))
    error = town.refusal(update(town.operations.keys, "t0", needs=["t5"]))
    assert "dependency cycle" in error.message


def test_the_server_checks_a_priority_itself(town: BareTown) -> None:
    change = update(town.operations.keys, "bens", priority="high", needs=["now"])
    words = tuple("soon" if word == "high" else word for word in change.command)
    assert town.refusal(msgspec.structs.replace(change, command=words)).code == "usage"


def test_a_misspelt_change_is_refused_under_the_name_of_the_function(town: BareTown) -> None:
    with pytest.raises(TypeError, match=r"update_task\(\) got an unexpected keyword argument 'label'"):
        update(town.operations.keys, "bens", label="x")


def test_a_dead_letter_of_a_removed_agent_is_not_redriven(town: BareTown) -> None:
    town.run(town.operations.send("ben", Query(question="?"), message_id="lost"))
    town.run(administration.remove_agent(town.operations.keys, "ben", force=True))
    assert town.refusal(administration.redrive(town.operations.keys, "lost")).hint == "tt dead drop lost"


def test_dead_letters_are_not_redriven_into_a_full_mailbox(bare_town: BareTown) -> None:
    town = bare_town
    town.run(town.operations.setup({"mailbox_messages": 2}))
    for number in range(2):
        town.run(town.operations.send("supervisor", Query(question="?"), message_id=f"m{number}"))
    dead(town, claim(town))
    town.run(town.operations.send("supervisor", Query(question="?"), message_id="m2"))
    assert town.refusal(administration.redrive(town.operations.keys, "all")).code == "limit_reached"
    assert town.run(administration.redrive(town.operations.keys, "m0")) == ("m0",)


def test_messages_and_dead_letters_are_found_by_a_unique_prefix(bare_town: BareTown) -> None:
    town, keys = bare_town, bare_town.operations.keys
    for name in ("note", "note-1", "note-11", "other"):
        town.run(town.operations.send("supervisor", Query(question="?"), message_id=name))
    error = town.refusal(administration.remove_message(keys, "supervisor", "note-"))
    assert (error.code, error.fields["candidates"]) == ("ambiguous", ["note-1", "note-11"])
    assert town.run(administration.remove_message(keys, "supervisor", "note-1")) == ("note-1",)
    assert town.run(administration.remove_message(keys, "supervisor", "o")) == ("other",)
    batch = claim(town)
    assert town.refusal(administration.remove_message(keys, "supervisor", "note-1")).code == "refused", "it is leased"
    dead(town, batch)
    assert town.refusal(administration.drop(keys, "not")).code == "ambiguous"
    assert town.run(administration.drop(keys, "note-")) == ("note-11",)
    assert town.run(administration.redrive(keys, "note")) == ("note",)


@pytest.mark.parametrize("ref", ["a/b", "*", "a\nb", "🦆", "x" * 100_000, "[", "%s", "\x00", "{town}", "-"])
def test_an_unknown_name_of_any_kind_is_not_found(town: BareTown, ref: str) -> None:
    keys = town.operations.keys
    for operation in (
        administration.redrive(keys, ref),
        administration.remove_message(keys, ref, "all"),
        administration.remove_message(keys, "ben", ref),
        administration.add_need(keys, ref, "now"),
        administration.add_need(keys, "bens", ref),
        administration.requeue_task(keys, ref),
        update(keys, ref, title="x"),
        update(keys, "bens", needs=[ref]),
        administration.assign_backlog(keys, ref),
        administration.rounds(keys, ref),
    ):
        error = town.refusal(operation)
        assert isinstance(error, NotFound)
        assert "\n" not in error.message
        assert len(str(error)) < 300
        assert error.hint


def test_the_library_refuses_with_known_codes_only() -> None:
    assert set(re.findall(r"refuse\('(\w+)'", administration.LIBRARY.source())) == set(REPLY_CODES) - {"not_allowed"}
