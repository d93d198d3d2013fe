"""What a town refuses: with which error, which code, which hint, and without a trace. `Town.refusal` holds the last."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from tinytown.errors import REPLY_CODES, LimitReached, NotFound, Refused, UsageError
from tinytown.model.ids import SUPERVISOR_ID
from tinytown.model.messages import Informational, Query
from tinytown.protocol.function_library import TOWN_LIBRARY
from tinytown.protocol.operation import Operation
from tinytown.protocol.operations import TownOperations
from tinytown_cli import administration

from tests.protocol.conftest import BareTown

HOUR_MS = 3_600_000
ODD = [
    "a/b",
    "..",
    "../etc",
    "*",
    "a*",
    "a:b",
    ":open",
    "a\nb",
    "🦆",
    "x" * 300,
    "x" * 100_000,
    "[",
    "%s",
    "\x00",
    " ",
    "{town}",
    "-",
]
HINTLESS = {"stale_lease"}  # whoever lost a lease has nothing to try


@pytest.fixture
def people(town: BareTown) -> BareTown:
    town.run(town.operations.create_agent("Backend-1", cli="shell", nickname="Ada Mason", role="dev"))
    town.run(town.operations.create_agent("backend-2", cli="shell", nickname="Ada Miller"))
    town.run(town.operations.create_agent("solo", cli="shell", nickname="Zeke"))
    for task in ("job-1", "job-2", "other"):
        town.run(town.operations.add_task("work", task_id=task))
    return town


@pytest.mark.parametrize(
    ("ref", "name"),
    [
        ("Backend-1", "Backend-1"),
        ("BACKEND-1", "Backend-1"),
        ("backend-1", "Backend-1"),
        ("ada mason", "Backend-1"),
        ("Ada Mason [dev]", "Backend-1"),
        ("solo [solo]", "solo"),
        ("zeke [solo]", "solo"),
        ("so", "solo"),
        ("ada mi", "backend-2"),
        ("z", "solo"),
    ],
)
def test_an_agent_is_found_by_what_people_type(people: BareTown, ref: str, name: str) -> None:
    assert people.run(people.operations.agent(ref)).name == name


def test_an_agent_is_found_by_its_id_and_a_unique_beginning_of_it(people: BareTown) -> None:
    solo = people.run(people.operations.agent("solo"))
    others = {agent.id for agent in people.run(people.operations.agents())} - {solo.id}
    short = next(solo.id[:n] for n in range(4, 37) if not any(other.startswith(solo.id[:n]) for other in others))
    for ref in (solo.id, solo.id.upper(), short):
        assert people.run(people.operations.agent(ref)).name == "solo"


def test_the_human_side_has_two_names_and_an_id_but_is_no_agent(people: BareTown) -> None:
    for ref in ("supervisor", "Conductor", SUPERVISOR_ID):
        assert people.run(people.operations.send(ref, Query(question="?"))).to == "supervisor"
        for operation in (
            people.operations.agent(ref),
            people.operations.set_desired_state(ref, "stopped"),
            administration.remove_agent(people.operations.keys, ref),
            people.operations.add_task("work", agent=ref),
            people.operations.assign_task("job-1", ref),
            people.operations.claim_from_backlog("job-1", ref),
        ):
            error = people.refusal(operation)
            assert error.code == "refused"
            assert "human side" in error.message
            assert error.hint


def test_an_ambiguous_agent_lists_the_candidates(people: BareTown) -> None:
    error = people.refusal(people.operations.agent("back"))
    assert isinstance(error, UsageError)
    assert error.code == "ambiguous"
    assert error.fields["candidates"] == ["Backend-1", "backend-2"]
    assert "Backend-1, backend-2" in error.message
    assert error.hint


def test_a_task_is_found_by_its_id_or_a_unique_beginning_of_it(people: BareTown) -> None:
    assert people.run(people.operations.task("other")).id == "other"
    assert people.run(people.operations.task("o")).id == "other"
    error = people.refusal(people.operations.task("job"))
    assert (error.code, error.fields["candidates"]) == ("ambiguous", ["job-1", "job-2"])
    people.run(people.operations.add_task("longer", task_id="job-11"))
    assert people.run(people.operations.task("job-1")).id == "job-1", "a whole id is never ambiguous"


def agent_uses(operations: TownOperations, ref: str) -> list[Operation[Any]]:
    return [
        operations.agent(ref),
        operations.send(ref, Query(question="?")),
        operations.send("supervisor", Query(question="?"), sender=ref),
        operations.peek(ref),
        operations.add_task("work", agent=ref),
        operations.assign_task("job-1", ref),
        operations.claim_from_backlog("job-1", ref),
        administration.current_task(operations.keys, ref),
        operations.set_desired_state(ref, "paused"),
        administration.remove_agent(operations.keys, ref),
        operations.create_agent("child", cli="shell", parent=ref),
    ]


@pytest.mark.parametrize("ref", ["nobody", *ODD])
def test_an_unknown_agent_is_not_found_whatever_it_is_called(people: BareTown, ref: str) -> None:
    for operation in agent_uses(people.operations, ref):
        error = people.refusal(operation)
        assert isinstance(error, NotFound)
        assert error.code == "not_found"
        assert "\n" not in error.message
        assert len(str(error)) < 300
        assert error.hint == "tt list shows the agents"


@pytest.mark.parametrize("ref", ["nothing", "", *ODD])
def test_an_unknown_task_is_not_found_whatever_it_is_called(people: BareTown, ref: str) -> None:
    operations = people.operations
    for operation in (
        operations.task(ref),
        operations.assign_task(ref, "solo"),
        operations.settle_task("complete", ref),
        administration.reopen_task(operations.keys, ref),
        administration.set_task_meta(operations.keys, ref, "git", {}),
        operations.record_verdict(ref, "complete"),
        operations.claim_from_backlog(ref, "solo"),
        operations.add_task("work", needs=[ref]),
    ):
        error = people.refusal(operation)
        assert isinstance(error, NotFound)
        assert "\n" not in error.message
        assert len(str(error)) < 300
        assert error.hint == "tt task list shows the tasks"


@pytest.mark.parametrize("beside", ["open", "rounds"])
def test_the_keys_beside_a_record_are_not_taken_for_one(people: BareTown, beside: str) -> None:
    solo = people.run(people.operations.agent("solo"))
    people.run(people.operations.add_task("work", agent="solo", needs=["other"], task_id="last"))
    assert people.refusal(people.operations.agent(f"{solo.id}:{beside}")).code == "not_found"
    assert people.refusal(people.operations.task("last:needs")).code == "not_found"
    assert people.refusal(people.operations.task("other:dependants")).code == "not_found"


@pytest.mark.parametrize("name", ["supervisor", "Conductor", "", *ODD])
def test_an_impossible_name_never_reaches_the_server(town: BareTown, name: str) -> None:
    with pytest.raises(UsageError):
        town.operations.create_agent(name, cli="shell")


def test_a_name_belongs_to_one_agent(people: BareTown) -> None:
    operations, solo = people.operations, people.run(people.operations.agent("solo"))
    for operation in (
        operations.create_agent("SOLO", cli="shell"),
        operations.create_agent("zeke", cli="shell"),
        operations.create_agent("new", cli="shell", nickname="zeke"),
        operations.create_agent("new", cli="shell", nickname="Solo"),
        operations.create_agent(solo.id, cli="shell"),
    ):
        error = people.refusal(operation)
        assert isinstance(error, Refused)
        assert error.code == "exists"
        assert error.hint
    with pytest.raises(UsageError):
        operations.create_agent("new", cli="shell", nickname="Supervisor")


def test_nobody_takes_a_nickname_by_chance_that_somebody_has(people: BareTown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinytown.protocol.agent_operations.nicknames", lambda _id: ["Zeke", "Solo", "Otto Plum"])
    assert people.run(people.operations.create_agent("new", cli="shell")).nickname == "Otto Plum"
    assert people.run(people.operations.create_agent("newer", cli="shell")).nickname is None
    assert people.run(people.operations.agent("newer [newer]")).name == "newer"


def test_a_task_id_belongs_to_one_task(people: BareTown) -> None:
    error = people.refusal(people.operations.add_task("again", task_id="other"))
    assert (error.code, error.hint) == ("exists", "tt task show other")


BAD: dict[str, Callable[[TownOperations], object]] = {
    "no text": lambda c: c.send("solo", Query(question=" \n")),
    "control characters": lambda c: c.send("solo", Query(question="a\x1b[2Jb")),
    "a NUL": lambda c: c.add_task("a\x00b"),
    "bytes of a command line": lambda c: c.send("solo", Query(question="x\udce9")),
    "bytes as a name": lambda c: c.agent("x\udce9"),
    "bytes as a tag": lambda c: c.tasks(tag="x\udce9"),
    "an unknown priority": lambda c: c.send("solo", Query(question="?"), priority="soon"),  # type: ignore[arg-type]
    "an unknown priority of a task": lambda c: c.add_task("work", priority="soon"),  # type: ignore[arg-type]
    "an unknown verb": lambda c: c.settle_task("finish", "job-1"),  # type: ignore[arg-type]
    "an unknown desired state": lambda c: c.set_desired_state("solo", "happy"),  # type: ignore[arg-type]
    "a message id with a colon": lambda c: c.send("solo", Query(question="?"), message_id="a:b"),
    "a message id with a quote": lambda c: c.send("solo", Query(question="?"), message_id='a"b'),
    "a task id with a slash": lambda c: c.add_task("work", task_id="a/b"),
    "a task id of 129 characters": lambda c: c.add_task("work", task_id="a" * 129),
    "a claim token with a blank": lambda c: c.claim(SUPERVISOR_ID, token="a b"),
    "an empty claim token": lambda c: c.claim(SUPERVISOR_ID, token=""),
    "a host with a colon": lambda c: c.register_host("a:b", lease_ms=1, details={}),
    "a lease with a colon": lambda c: c.acquire_lease("a:b", "h1", lease_ms=1),
    "a tag with a colon": lambda c: c.add_task("work", tags=["a:b"]),
    "a role with a newline": lambda c: c.create_agent("new", cli="shell", role="a\nb"),
    "a title of 1,001 bytes": lambda c: c.add_task("work", title="x" * 1001),
    "an empty reason": lambda c: administration.reopen_task(c.keys, "job-1", reason=""),
    "a hold without a reason": lambda c: administration.hold_task(c.keys, "job-1", reason=" "),
    "a hold until some day": lambda c: administration.hold_task(c.keys, "job-1", reason="wait", until="tomorrow"),
    "a task held until then for no reason": lambda c: c.add_task("work", held_until="2100-01-01T00:00:00Z"),
    "a table's name with a quote": lambda c: administration.set_task_meta(c.keys, "job-1", 'a"b', {}),
    "an event type with a blank": lambda c: c.emit("a b", {}),
    "a run id with a blank": lambda c: c.start_round("a", "1", "a b"),
    "a town with an upper-case letter": lambda c: TownOperations("Town"),
    "a town with braces": lambda c: TownOperations("{x}"),
}


@pytest.mark.parametrize("what", BAD)
def test_values_that_can_never_be_right_are_refused_before_they_are_sent(town: BareTown, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        BAD[what](town.operations)
    assert "expected" in caught.value.message
    assert "got" in caught.value.message


def test_the_library_checks_priorities_and_states_itself(people: BareTown) -> None:
    operation = people.operations.add_task("work")
    words = tuple("soon" if word == "normal" else word for word in operation.command)
    assert people.refusal(Operation(words, operation.decode)).code == "usage"
    done = people.operations.add_task("work", finished="failed")
    words = tuple("running" if word == "failed" else word for word in done.command)
    assert people.refusal(Operation(words, done.decode)).code == "usage"
    people.run(people.operations.register_host("h1", lease_ms=HOUR_MS, details={}))
    placed = people.run(people.operations.place_agents("h1", ["shell"], count=1)).agents[0]
    fence = placed.token or ""
    assert people.refusal(people.operations.report_agent_state(placed.id, fence, "happy")).code == "refused"
    assert people.refusal(people.operations.release_agent(placed.id, fence, "idle")).code == "usage"


def test_a_message_may_have_as_many_bytes_as_it_says_and_not_one_more(town: BareTown) -> None:
    whole = "\n" * 500_000 + '"' * 500_000 + "é" * 24_288  # twice as long in JSON
    assert len(whole.encode()) == 1 << 20
    sent = town.run(town.operations.send("supervisor", Informational(summary=whole)))
    (lying,) = town.run(town.operations.peek("supervisor")).messages
    assert lying.message
    assert (lying.message.id, lying.message.text) == (sent.message_id, whole)
    with pytest.raises(UsageError) as caught:
        town.operations.send("supervisor", Informational(summary=whole + "x"))
    assert caught.value.code == "limit_reached"
    assert "1,048,577" in caught.value.message
    with pytest.raises(UsageError, match="1,048,577"):
        town.operations.add_task("x" * ((1 << 20) + 1))


def test_the_towns_own_limit_holds_for_clients_that_do_not_know_it(town: BareTown) -> None:
    town.run(town.operations.setup({"message_bytes": 1000}))
    town.run(town.operations.send("supervisor", Informational(summary="x" * 1000)))
    error = town.refusal(town.operations.send("supervisor", Informational(summary="x" * 1001)))
    assert isinstance(error, LimitReached)
    assert "1000 bytes, got 1001" in error.message
    assert error.hint


def test_a_full_mailbox_refuses_with_its_owners_name(people: BareTown) -> None:
    people.run(people.operations.setup({"mailbox_messages": 3}))
    for number in range(3):
        people.run(people.operations.send("solo", Query(question="?"), message_id=f"m{number}"))
    error = people.refusal(people.operations.send("solo", Query(question="?")))
    assert isinstance(error, LimitReached)
    assert (error.fields["agent"], error.hint) == ("solo", "tt inbox solo shows them")
    assert not people.run(people.operations.send("solo", Query(question="?"), message_id="m1")).new, (
        "known mail is no more mail"
    )
    assert people.run(people.operations.assign_task("job-1", "solo")).message_id, "an order is never turned away"


def test_a_town_has_room_for_so_many_agents(people: BareTown) -> None:
    people.run(people.operations.setup({"max_agents": 3}))
    error = people.refusal(people.operations.create_agent("fourth", cli="shell"))
    assert isinstance(error, LimitReached)
    assert "max_agents" in error.hint


def test_a_stopped_agent_takes_neither_mail_nor_tasks_until_it_is_resumed(people: BareTown) -> None:
    operations = people.operations
    people.run(operations.set_desired_state("solo", "stopped"))
    for operation in (
        operations.send("solo", Query(question="?")),
        operations.add_task("work", agent="solo"),
        operations.assign_task("job-1", "so"),
    ):
        error = people.refusal(operation)
        assert (error.code, error.hint) == ("refused", "tt resume solo brings it back")
    people.run(operations.set_desired_state("solo", "running"))
    people.run(operations.send("solo", Query(question="?")))


def refused_in_state(operations: TownOperations) -> dict[str, Operation[Any]]:
    return {
        "a finished task is not assigned": operations.assign_task("over", "solo"),
        "a finished task is not completed again": operations.settle_task("complete", "over"),
        "a finished task does not fail": operations.settle_task("fail", "over"),
        "an open task is not reopened": administration.reopen_task(operations.keys, "job-1"),
        "a task that somebody has is not on the backlog": operations.claim_from_backlog("given", "solo"),
        "an agent with work": administration.remove_agent(operations.keys, "solo"),
        "a task that was not begun is not verified": operations.settle_task("submit", "job-1"),
    }


@pytest.mark.parametrize("what", refused_in_state(TownOperations("x")))
def test_the_towns_state_forbids(people: BareTown, what: str) -> None:
    operations, run = people.operations, people.run
    run(operations.setup({"gates": 1}))
    run(operations.add_task("over", task_id="over"))
    run(operations.settle_task("complete", "over"))
    run(operations.add_task("given", agent="solo", task_id="given"))
    run(operations.add_task("waits", needs=["job-2"], task_id="waits"))
    error = people.refusal(refused_in_state(operations)[what])
    assert isinstance(error, REPLY_CODES[error.code])
    assert error.hint or error.code in HINTLESS


def test_the_library_refuses_with_known_codes_only() -> None:
    assert set(re.findall(r"refuse\('(\w+)'", TOWN_LIBRARY.source())) == set(REPLY_CODES) - {"not_allowed"}
