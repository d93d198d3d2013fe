"""A migrated town of Tinytown 0.10 has the same ids, task states and mail order, and nothing is lost silently."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from tinytown.model.messages import Confirmation, Informational, Query, TaskAssign, TaskOrder, Unknown
from tinytown_cli import administration
from tinytown_cli.blocking_client import BlockingClient
from tinytown_migrate.conversion import Converted, convert
from tinytown_migrate.source import OldTown, find_keys, read_town
from tinytown_snapshots.checks import check
from tinytown_snapshots.lines import gather, read_lines, to_bytes
from tinytown_snapshots.merge_plan import DIFFERS
from tinytown_snapshots.transfer import Restored, Transfer
from tinytown_testing.bare_town import BareTown, expect_known_keys, fresh_town

from .old_towns import (
    ADA,
    BOB,
    DONE,
    FIRST_ON_BACKLOG,
    FORGOTTEN,
    GONE,
    ORPHAN,
    RUNNING,
    SECOND_ON_BACKLOG,
    TWIN,
    WAITING,
    Layout,
    write_old_town,
)


def old_town(server_client: BlockingClient, layout: Layout) -> OldTown:
    write_old_town(server_client, layout)
    return read_town(server_client, find_keys(server_client), None if layout == "nameless" else "shop")


@pytest.fixture(params=get_args(Layout))
def migrated(server_client: BlockingClient, request: pytest.FixtureRequest) -> Iterator[tuple[BareTown, Converted]]:
    """A town into which the old one was migrated, and its conversion."""
    town = fresh_town(server_client)
    converted = convert(old_town(server_client, request.param), taken={})
    restore(town, converted)
    yield town, converted
    expect_known_keys(town)


def restore(town: BareTown, converted: Converted) -> Restored:
    again = read_lines(to_bytes(converted.snapshot))
    check(again)
    assert gather(again).counts == converted.snapshot.counts
    return Transfer(town.client, town.operations).restore(converted.snapshot, merge=True, known_s=1000)


def test_agents_keep_their_ids_and_get_unique_names(migrated: tuple[BareTown, Converted]) -> None:
    town, converted = migrated
    agents = {item.id: item for item in town.run(town.operations.agents())}
    assert {id_: item.name for id_, item in agents.items()} == {ADA: "ada", BOB: "bob", TWIN: "ada-c000"}
    assert [(item.id, item.new) for item in converted.renamed] == [(TWIN, "ada-c000")]
    ada, bob, twin = agents[ADA], agents[BOB], agents[TWIN]
    assert (ada.desired_state, ada.state, ada.role, ada.nickname) == ("running", "starting", "reviewer", "Ada Mason")
    assert (bob.desired_state, bob.state, bob.parent, bob.cli) == ("stopped", "stopped", "ada", "claude")
    assert (twin.desired_state, twin.role, twin.nickname) == ("stopped", None, "Bad-Nick")
    assert (ada.rounds_completed, ada.tasks_completed, ada.created_at) == (7, 4, "2025-11-01T10:01:00.123Z")
    assert any("claude --print --verbose" in note for note in converted.notes)


def test_tasks_keep_their_states_and_agents(migrated: tuple[BareTown, Converted]) -> None:
    town, _ = migrated
    tasks = {item.id: item for item in town.run(town.operations.tasks())}
    states = {id_: (item.state, item.assigned_to) for id_, item in tasks.items()}
    assert states == {
        RUNNING: ("assigned", "ada"),
        WAITING: ("assigned", "ada"),
        DONE: ("completed", "bob"),
        ORPHAN: ("pending", None),
        FORGOTTEN: ("pending", None),
        FIRST_ON_BACKLOG: ("pending", None),
        SECOND_ON_BACKLOG: ("pending", None),
    }
    backlog = [item.id for item in town.run(town.operations.tasks(state="backlog"))]
    assert backlog == [FORGOTTEN, ORPHAN, FIRST_ON_BACKLOG, SECOND_ON_BACKLOG]
    assert tasks[WAITING].tags == ("plan-t-1", "python")
    assert (tasks[DONE].result, tasks[DONE].completed_at) == ("it works", "2025-11-02T12:00:00.000Z")
    origin = tasks[WAITING].origin
    assert origin
    assert origin["record"]["assigned_to"] == ADA


def test_mail_is_in_delivery_order(migrated: tuple[BareTown, Converted]) -> None:
    town, _ = migrated
    bodies = [item.message.body for item in town.run(town.operations.peek("ada")).messages if item.message]
    assert bodies[:7] == [
        TaskOrder(description="the older"),
        TaskOrder(description="the newer"),
        Query(question="the older of two in front?"),
        Query(question="the newer of two in front?"),
        TaskAssign(task_id=RUNNING),
        TaskAssign(task_id=WAITING),
        Informational(summary="red\\x1b[31m alert"),
    ]
    assert isinstance(bodies[7], Confirmation)
    assert bodies[7].text == "rejected: no tests"
    assert isinstance(bodies[8], Unknown)
    assert msgspec.json.decode(bodies[8].raw)["degrees"] == 21
    assert len(bodies) == 9
    news = town.run(town.operations.peek("ada")).messages[6].message
    assert news
    assert (news.sender, news.recipient) == ("bob", "ada")
    [question] = town.run(town.operations.peek("supervisor")).messages
    assert question.message
    assert (question.message.sender, question.message.text) == ("ada", "may I?")


def test_mail_that_cannot_be_delivered_is_a_dead_letter_with_its_reason(migrated: tuple[BareTown, Converted]) -> None:
    town, converted = migrated
    letters = {
        item.reason.partition(": ")[2]: item for item in town.run(administration.dead_letters(town.operations.keys))
    }
    assert set(letters) == {"unreadable", f"no agent {GONE}"}
    assert letters["unreadable"].raw == b"this is no JSON"
    assert "orders not migrated, because their tasks are finished or have another agent: 1" in converted.notes


def test_a_repeated_migration_adds_nothing(migrated: tuple[BareTown, Converted]) -> None:
    town, converted = migrated
    run, calls = town.run, town.operations
    run(calls.settle_task("complete", WAITING))
    ada = run(calls.agent("ada"))
    batch = run(calls.claim(ada.id, token="c", count=1))
    assert run(calls.ack(ada.id, batch.deliveries)) == (True,)
    before = town.dump()
    again = restore(town, converted)
    assert set(again.added.values()) == {0}
    assert {item.reason for item in again.conflicts} == {DIFFERS}
    assert {key: value for key, value in town.dump().items() if key != "events"} == {
        key: value for key, value in before.items() if key != "events"
    }


def test_names_of_agents_of_the_new_town_are_not_taken(server_client: BlockingClient) -> None:
    town = fresh_town(server_client)
    mine = town.run(town.operations.create_agent("Ada", cli="shell"))
    converted = convert(old_town(server_client, "hash"), taken={"ada": mine.id})
    restore(town, converted)
    assert {item.id: item.name for item in town.run(town.operations.agents())}[ADA] == "ada-a000"
    assert town.run(town.operations.agent("Ada")).id == mine.id


def test_the_same_old_town_gives_the_same_snapshot(server_client: BlockingClient) -> None:
    server_client.command("FLUSHALL")
    town = old_town(server_client, "hash")
    assert to_bytes(convert(town, taken={}).snapshot) == to_bytes(convert(town, taken={}).snapshot)


#: The same few examples every day, on a machine that may be busy.
QUICK = settings(deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
VALUE = st.one_of(
    st.text(max_size=20), st.integers(), st.sampled_from(["running", "idle", ADA, BOB, "2025-01-01T00:00:00Z"])
)
FIELDS = ("name", "state", "cli", "nickname", "role_id", "created_at", "assigned_to", "description", "tags", "result")
RECORD = st.dictionaries(st.sampled_from(FIELDS), VALUE)


@QUICK
@given(
    agents=st.dictionaries(st.sampled_from([ADA, BOB, TWIN]), RECORD),
    tasks=st.dictionaries(st.sampled_from([RUNNING, WAITING, DONE]), RECORD),
    backlog=st.lists(st.sampled_from([RUNNING, WAITING, "x"])),
    mail=st.lists(
        st.binary(max_size=30)
        | st.builds(lambda d: msgspec.json.encode({"id": "m", "type": "task_assign", **d}), RECORD)
    ),
)
def test_any_old_town_becomes_a_valid_snapshot(
    agents: dict[str, dict[str, object]], tasks: dict[str, dict[str, object]], backlog: list[str], mail: list[bytes]
) -> None:
    town = OldTown("x", agents=agents, tasks=tasks, backlog=backlog, inboxes={ADA: mail}, urgent={GONE: mail})
    check(read_lines(to_bytes(convert(town, taken={}).snapshot)))
