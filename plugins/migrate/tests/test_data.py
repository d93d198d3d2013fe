"""Data of each schema opens without loss. ``recordings/schema_N.jsonl`` has what that version stored, and its answers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tinytown.config import load_config
from tinytown.errors import Refused
from tinytown.model.events import event_fields
from tinytown.model.hash_codec import pairs
from tinytown.protocol import Operation
from tinytown_cli import administration
from tinytown_cli.client import connect
from tinytown_migrate.data import migrate_data
from tinytown_snapshots.functions import plugins_with_data
from tinytown_testing import TownDirectory
from tinytown_testing.bare_town import BareTown, key_type

RECORDINGS = Path(__file__).with_name("recordings")
#: Words of schema 1 -> those of schema 2, as names of members and as values of states.
MEMBERS = {"wanted": "desired_state", "run_id": "round_id", "run": "round_id"}
STATE_MEMBERS = ("state", "old", "new")


def load(town: BareTown, recording: str) -> dict[str, Any]:
    """Write the recorded keys into the town's place; what the recorded version answered."""
    head, *rows = (RECORDINGS / recording).read_bytes().splitlines()
    town.command("DEL", town.key("meta"))
    for line in rows:
        row = msgspec.json.decode(line)
        key, value = town.key(row["key"]), row["value"]
        match row["kind"]:
            case "string":
                town.command("SET", key, value)
            case "hash":
                town.command("HSET", key, *value)
            case "set":
                town.command("SADD", key, *value)
            case "list":
                town.command("RPUSH", key, *value)
            case "zset":
                town.command("ZADD", key, *(part for i in range(0, len(value), 2) for part in (value[i + 1], value[i])))
            case _:
                for position, fields in value:
                    town.command("XADD", key, position, *fields)
    return dict(msgspec.json.decode(head)["expected"])


def renamed(record: dict[str, Any]) -> dict[str, Any]:
    """A record or event as schema 1 had it in the words of schema 2."""
    fields = {MEMBERS.get(name, name): value for name, value in record.items()}
    fields |= {name: "suspended" for name in STATE_MEMBERS if fields.get(name) == "cold"}
    if fields.get("type") == "agent_wanted":
        fields["type"] = "agent_desired_state_changed"
    if "mail" in fields:
        fields["mail"] = {**fields["mail"], "with_next": 0}  # counted since then
    return fields


def plain(value: Any) -> Any:
    """`value` as JSON has it."""
    return msgspec.json.decode(msgspec.json.encode(value))


def migrate(town: BareTown) -> None:
    """What a client does that connects."""
    refused = town.refusal(town.operations.setup({}))
    assert refused.code == "older_data"
    assert town.run(migrate_data(town.operations.keys))
    assert town.run(town.operations.setup({})) == "2"


@pytest.fixture
def town(bare_town: BareTown) -> BareTown:
    return bare_town


@pytest.fixture
def recorded(town: BareTown) -> dict[str, Any]:
    return load(town, "schema_1.jsonl")


def test_a_town_of_schema_1_opens_with_all_that_it_had(town: BareTown, recorded: dict[str, Any]) -> None:
    operations, run = town.operations, town.run
    migrate(town)
    assert plain(run(operations.agents())) == [renamed(agent) for agent in recorded["agents"]]
    assert plain(run(operations.tasks(limit=100))) == [{**renamed(task), "lost": 0} for task in recorded["tasks"]]
    assert plain(run(administration.rounds(operations.keys, limit=50))) == [
        {**renamed(record), "tasks": []} for record in recorded["rounds"]
    ]
    for name, inbox in recorded["inboxes"].items():
        assert [
            {"place": entry.place, "deliveries": entry.deliveries, "id": entry.message and entry.message.id}
            for entry in run(operations.peek(name)).messages
        ] == inbox, name
    assert [letter.id for letter in run(administration.dead_letters(operations.keys))] == recorded["dead"]
    assert {
        plugin: run(operations.plugin_data(plugin)) for plugin in run(plugins_with_data(operations.keys))
    } == recorded["plugin_data"]
    assert run(Operation(("HGETALL", operations.keys.cursors), pairs)) == recorded["cursors"]


@pytest.mark.usefixtures("recorded")
def test_the_backlog_of_schema_1_is_found_by_its_words(town: BareTown) -> None:
    migrate(town)
    listed = town.command("ZRANGE", town.key("backlog:words"), 0, -1)
    backlog = town.run(town.operations.tasks(state="backlog"))
    assert backlog
    assert {word.rpartition(b":")[2].decode() for word in listed} == {task.id for task in backlog}


def test_events_of_schema_1_are_read_in_the_words_of_today(town: BareTown, recorded: dict[str, Any]) -> None:
    migrate(town)
    events = [event_fields(event) for event in town.run(town.operations.latest_events(1000))]
    expected = [renamed(event) if event["type"] != "plugin_told" else event for event in recorded["events"]]
    assert len(events) == len(expected)
    for event, before in zip(events, expected, strict=True):
        members = before.pop("fields", {}) | before
        assert {name: event[name] for name in members} == members


def test_the_recording_has_every_state_of_agents_and_tasks_and_every_place_of_mail(recorded: dict[str, Any]) -> None:
    assert {agent["state"] for agent in recorded["agents"]} == {
        "starting", "working", "paused", "draining", "cold", "stopped", "error",
    }  # fmt: skip
    assert {task["state"] for task in recorded["tasks"]} == {
        "pending", "blocked", "assigned", "running", "verifying", "completed", "failed", "cancelled",
    }  # fmt: skip
    assert {entry["place"] for inbox in recorded["inboxes"].values() for entry in inbox} == {
        "queued",
        "leased",
        "delayed",
    }


def test_the_ids_of_events_stay_so_that_readers_continue_where_they_stopped(
    town: BareTown, recorded: dict[str, Any]
) -> None:
    key = town.operations.keys.events
    before = [position for position, _ in town.command("XRANGE", key, "-", "+")]
    town.command("XSETID", key, "9999999999999-7")
    migrate(town)
    assert [position for position, _ in town.command("XRANGE", key, "-", "+")] == before
    assert town.command("XADD", key, "9999999999999-8", "type", "noise") == b"9999999999999-8"


def test_a_migrated_town_works_on(town: BareTown, recorded: dict[str, Any]) -> None:
    operations, run = town.operations, town.run
    migrate(town)
    assert run(operations.register_host("new", lease_ms=60_000, details={"name": "there"})) == ("h1",)
    placed = {agent.name: agent for agent in run(operations.place_agents("new", ["shell"], count=50)).agents}
    assert {"ann", "ben", "gus"} <= set(placed)
    assert placed["ben"].desired_state == "paused"
    ann = placed["ann"]
    batch = run(operations.claim(ann.id, token="c", fence=ann.token or "", count=8))
    assert [delivery.message and delivery.message.id for delivery in batch.deliveries] == [
        "m-leased",
        "t-running.1",
        "m-queued",
    ]
    assert not run(operations.start_task(ann.id, ann.token or "", "t-running", "round-5")).stale
    record = msgspec.json.encode({"round_id": "round-5", "outcome": "finished", "ended_at": "2030-01-31T09:31:00.000Z"})
    run(
        operations.settle_round(
            ann.id,
            ann.token or "",
            "round-5",
            batch.deliveries,
            outcome="finished",
            mail="ack",
            task_ids=["t-running"],
            fate="complete",
            record=record,
        )
    )
    assert [each.round_id for each in run(administration.rounds(operations.keys, "ann"))][:2] == ["round-5", "round-3"]
    for key, kind, _, _ in town.rows():
        assert key_type(key) == kind


def test_migrating_happens_once(town: BareTown, recorded: dict[str, Any]) -> None:
    migrate(town)
    before = town.dump()
    assert not town.run(migrate_data(town.operations.keys))
    assert town.dump() == before


def test_a_town_with_a_kernel_of_the_older_version_is_left_as_it_is(town: BareTown, recorded: dict[str, Any]) -> None:
    town.command("ZADD", town.key("hosts"), int(time.time() * 1000) + 60_000, "h1")
    before = town.dump()
    error = town.refusal(migrate_data(town.operations.keys))
    assert town.dump() == before
    assert isinstance(error, Refused)
    assert "older version" in error.message


async def test_a_program_that_opens_a_town_of_schema_1_migrates_it(
    town_dir: TownDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town_dir.connect() as town:
        await town.link.command("HSET", f"{town.operations.keys.base}:meta", "schema", "1")
    with monkeypatch.context() as without:
        without.setattr("tinytown.state.installed", lambda group: ())
        with pytest.raises(Refused, match="the data of this town is of an older release; pip install tinytown-migrate"):
            async with town_dir.connect():
                pass
    async with town_dir.connect() as town:
        assert (await town.status()).schema == "2"


def test_a_command_that_opens_a_town_of_schema_1_migrates_it(town_dir: TownDirectory) -> None:
    config = load_config(town_dir.root)
    for flushed in (True, False):
        with connect(town_dir.root, config) as town:
            assert town.run(town.operations.status()).schema == "2"
            if flushed:
                town.client.command("HSET", f"{town.operations.keys.base}:meta", "schema", "1")
                town.client.command("FUNCTION", "FLUSH")  # those of this version were never there
