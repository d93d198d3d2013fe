from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings, strategies as st
from tinytown.model.agents import Agent, MailCounts, read_agent
from tinytown.model.events import EVENT_TYPES, AgentReported, OtherEvent, RoundEnded, event_fields, read_event
from tinytown.model.hash_codec import pairs, read_record
from tinytown.model.tasks import FINISHED, TASK_STATES, TRANSITIONS, Task, read_task
from tinytown.model.time import parse_rfc3339, rfc3339

RANDOM = settings(deadline=None, database=None, derandomize=True)


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    count: int = 0
    at: str | None = None
    tags: tuple[str, ...] = ()


@RANDOM
@given(st.integers(0, 253402300799999))
def test_a_moment_survives_as_text(ms: int) -> None:
    text = rfc3339(ms)
    assert parse_rfc3339(text) == ms
    assert datetime.fromisoformat(text).tzinfo == UTC
    assert len(text) == len("2026-01-31T09:30:00.125Z")


def test_a_moment_reads_as_people_write_it() -> None:
    assert rfc3339(1_769_851_800_125) == "2026-01-31T09:30:00.125Z"
    assert parse_rfc3339("2026-01-31T10:30:00.125+01:00") == 1_769_851_800_125
    with pytest.raises(ValueError, match="soon"):
        parse_rfc3339("soon")


def test_fields_are_text_from_a_list_or_a_map() -> None:
    assert pairs([b"a", b"1", b"b", 2]) == pairs({b"a": b"1", b"b": 2}) == {"a": "1", "b": "2"}
    assert pairs([b"a", b"x\xe9"]) == {"a": "x\ufffd"}
    assert pairs([]) == {}
    with pytest.raises(ValueError, match="shorter"):
        pairs([b"a", b"1", b"b"])


def test_a_record_becomes_a_struct() -> None:
    fields = {"name": "x", "count": "3", "at": "0", "tags": '["a","b"]', "unknown": "ignored"}
    read = read_record(Sample, fields, times=frozenset({"at"}), json=frozenset({"tags"}))
    assert read == Sample(name="x", count=3, at="1970-01-01T00:00:00.000Z", tags=("a", "b"))


def test_an_empty_field_takes_its_default() -> None:
    fields = {"name": "x", "count": "", "at": "", "tags": ""}
    assert read_record(Sample, fields, times=frozenset({"at"}), json=frozenset({"tags"})) == Sample(name="x")


@pytest.mark.parametrize(
    "fields", [{}, {"name": "x", "count": "many"}, {"name": "x", "at": "now"}, {"name": "x", "tags": "["}]
)
def test_a_record_that_does_not_fit_is_a_value_error(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_record(Sample, fields, times=frozenset({"at"}), json=frozenset({"tags"}))


def test_numbers_that_look_like_text_stay_text() -> None:
    assert read_task({"id": "12", "description": "007"}) == Task(id="12", description="007")
    assert read_agent({"id": "1", "name": "42", "cli": "7"}).name == "42"


def test_every_state_of_a_task_leads_on_to_known_ones() -> None:
    assert set(TRANSITIONS) == set(TASK_STATES)
    for old, news in TRANSITIONS.items():
        assert set(news) <= set(TASK_STATES)
        assert old not in news
    assert {state for state in TASK_STATES if Task(id="t", description="x", state=state).finished} == FINISHED


def test_the_headline_of_a_task_is_its_title_or_first_line() -> None:
    assert Task(id="t", description="\n first \nsecond").headline == "first "
    assert Task(id="t", description="first", title="Title").headline == "Title"


def test_an_agent_is_at_rest_when_nothing_runs_and_nothing_waits() -> None:
    rest = Agent(id="1", name="ann", cli="shell", state="idle")
    assert rest.at_rest
    for busy in (
        {"state": "working"},
        {"open_tasks": 1},
        {"mail": MailCounts(queued=1)},
        {"mail": MailCounts(leased=1)},
        {"mail": MailCounts(delayed=1)},
    ):
        assert not msgspec.structs.replace(rest, **busy).at_rest
    assert (rest.label, msgspec.structs.replace(rest, nickname="Ada Mason", role="dev").label) == (
        "ann [ann]",
        "Ada Mason [dev]",
    )


def test_an_event_is_read_with_its_numbers_and_without_its_empty_members() -> None:
    event = read_event(
        "1769851800125-7",
        {
            "type": "round_ended",
            "agent": "ann",
            "round_id": "r",
            "run": "r",
            "outcome": "finished",
            "task": "",
            "duration_ms": "12",
        },
    )
    assert event == RoundEnded(
        id="1769851800125-7",
        at="2026-01-31T09:30:00.125Z",
        agent="ann",
        round_id="r",
        outcome="finished",
        duration_ms=12,
    )
    assert event_fields(event) == {
        "type": "round_ended",
        "id": "1769851800125-7",
        "at": "2026-01-31T09:30:00.125Z",
        "agent": "ann",
        "round_id": "r",
        "run": "r",
        "outcome": "finished",
        "duration_ms": 12,
    }


def test_an_event_that_nobody_knows_keeps_its_members() -> None:
    event = read_event("0-1", {"type": "vote_cast", "agent": "ann", "n": "3"})
    assert event == OtherEvent(id="0-1", at=rfc3339(0), type="vote_cast", fields={"agent": "ann", "n": "3"})
    assert event_fields(event) == {"type": "vote_cast", "id": "0-1", "at": rfc3339(0), "agent": "ann", "n": "3"}


@pytest.mark.parametrize("type_", EVENT_TYPES)
def test_an_event_without_its_members_is_still_an_event(type_: str) -> None:
    event = read_event("0-1", {"type": type_})
    assert event_fields(event)["type"] == type_
    assert isinstance(event, OtherEvent) or event_fields(event).keys() == {"type", "id", "at"}


def test_a_text_of_digits_in_an_event_stays_text() -> None:
    event = read_event("0-1", {"type": "agent_reported", "agent": "42", "text": "007"})
    assert isinstance(event, AgentReported)
    assert (event.agent, event.text) == ("42", "007")
