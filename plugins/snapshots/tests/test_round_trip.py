"""A restored town is the same town: byte for byte in the next snapshot, with valid keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from tinytown.errors import ProtocolViolation
from tinytown.model.messages import Query, TaskAssign
from tinytown_cli import administration
from tinytown_cli.blocking_client import BlockingClient
from tinytown_snapshots.capture import Captured
from tinytown_testing.bare_town import BareTown, add_town, expect_known_keys, fresh_town

from .conftest import HOUR_MS, fill, loaded, saved, transfer


def test_a_restored_town_is_saved_again_byte_for_byte(server_client: BlockingClient, town: BareTown) -> None:
    fill(town)
    content = saved(town)
    again = add_town(server_client)
    restored = transfer(again).restore(loaded(content))
    assert restored.added == {"agents": 3, "tasks": 7, "messages": 5, "dead_letters": 1, "plugin_data": 2}
    assert saved(again) == content
    expect_known_keys(again)


def test_a_snapshot_read_in_pages_equals_one_read_in_a_single_step(town: BareTown) -> None:
    fill(town)
    assert saved(town, page=1) == saved(town, page=3) == saved(town)


def test_a_snapshot_holds_nothing_of_leases_hosts_and_rounds(town: BareTown) -> None:
    fill(town)
    content = saved(town).decode()
    for word in ("token", "host", "round_id", "session", "current_task", "lease", "claim", "h1"):
        assert word not in content


def test_an_unchanged_town_gives_an_unchanged_snapshot_while_leases_change(town: BareTown) -> None:
    ids = fill(town)
    before = saved(town)
    town.run(town.operations.heartbeat("h1", lease_ms=HOUR_MS))
    town.run(town.operations.report_agent_state(ids["ann"], ids["fence"], "idle"))
    assert saved(town) == before


def test_interrupted_work_resumes_in_a_restored_town(server_client: BlockingClient, town: BareTown) -> None:
    fill(town)
    again = add_town(server_client)
    transfer(again).restore(loaded(saved(town)))
    calls, run = again.operations, again.run
    run(calls.register_host("h2", lease_ms=HOUR_MS, details={"name": "there"}))
    ann = run(calls.place_agents("h2", ["shell"], count=9)).agents[0]
    assert ann.name == "ann"
    batch = run(calls.claim(ann.id, token="c", fence=ann.token or "", count=8))
    assert [item.message.id for item in batch.deliveries if item.message] == ["why", "now.1"]
    assert [item.deliveries for item in batch.deliveries] == [1, 1]
    started = run(calls.start_task(ann.id, ann.token or "", "now", "run2"))
    assert not started.stale
    run(calls.start_round(ann.id, ann.token or "", "run2", "now"))
    run(
        calls.settle_round(
            ann.id, ann.token or "", "run2", batch.deliveries,
            outcome="finished", mail="ack", task_ids=["now"], fate="complete", text="done",
        )
    )  # fmt: skip
    assert run(calls.task("next")).state == "assigned"
    bodies = [item.message.body for item in run(calls.peek("ann")).messages if item.message]
    assert TaskAssign(task_id="next") in bodies
    assert run(calls.task("hopeless")).open_needs == ("failed",)
    run(administration.reopen_task(calls.keys, "failed"))
    run(calls.settle_task("complete", "failed"))
    assert run(calls.task("hopeless")).state == "pending"
    assert [item.message.id for item in run(calls.peek("supervisor")).messages if item.message] == ["and"]
    assert run(administration.redrive(calls.keys, "all")) == ("ill",)


def test_new_mail_and_orders_come_after_the_restored_ones(server_client: BlockingClient, town: BareTown) -> None:
    fill(town)
    again = add_town(server_client)
    transfer(again).restore(loaded(saved(town)))
    again.run(again.operations.send("supervisor", Query(question="third?"), message_id="third"))
    assert [item.message.id for item in again.run(again.operations.peek("supervisor")).messages if item.message] == [
        "and",
        "third",
    ]
    assert again.run(administration.requeue_task(again.operations.keys, "bens")).state == "pending"
    assert again.run(again.operations.assign_task("bens", "ben")).message_id == "bens.2"


def test_the_attempts_of_a_lineage_are_restored(server_client: BlockingClient) -> None:
    town, again = (add_town(server_client, lineage_attempts=1) for _ in range(2))
    calls, run = town.operations, town.run
    ann = run(calls.create_agent("ann", cli="shell"))
    run(calls.add_task("all of it", agent="ann", task_id="whole"))
    run(calls.add_task("half of it", agent="ann", task_id="part", parent="whole"))
    run(calls.register_host("h1", lease_ms=HOUR_MS, details={"name": "here"}))
    fence = run(calls.place_agents("h1", ["shell"], count=1)).agents[0].token or ""
    assert not run(calls.start_task(ann.id, fence, "part", "run")).stale
    content = saved(town)
    transfer(again).restore(loaded(content))
    assert saved(again) == content
    assert again.command("HGETALL", again.key("lineages")) == {b"whole": b"1"}
    again.run(again.operations.register_host("h2", lease_ms=HOUR_MS, details={"name": "there"}))
    fence = again.run(again.operations.place_agents("h2", ["shell"], count=1)).agents[0].token or ""
    assert again.run(again.operations.start_task(ann.id, fence, "whole", "run2")).stale
    assert "all attempts (1)" in (again.run(again.operations.task("whole")).reason or "")


def test_a_body_that_is_not_json_and_an_unknown_field_survive(server_client: BlockingClient, town: BareTown) -> None:
    town.run(town.operations.create_agent("ann", cli="shell"))
    town.run(town.operations.send("ann", Query(question="?"), message_id="odd"))
    ann = town.run(town.operations.agent("ann")).id
    for body in (b"\xff\x00not json", b'{"id":\n"odd"}', b"", b'{"a": 1e5 }', b"[" * 3000 + b"]" * 3000):
        town.command("HSET", town.key(f"mail:{ann}:bodies"), "odd", body)
        town.command("HSET", town.key(f"agent:{ann}"), "shoe_size", "43")
        content, again = saved(town), add_town(server_client)
        transfer(again).restore(loaded(content))
        assert again.command("HGET", again.key(f"mail:{ann}:bodies"), "odd") == body
        assert again.command("HGET", again.key(f"agent:{ann}"), "shoe_size") == b"43"
        assert saved(again) == content


def test_thousands_of_tasks_with_many_needs_are_restored_in_pages(
    server_client: BlockingClient, town: BareTown
) -> None:
    ids = [f"t{number}" for number in range(2500)]
    for begin in range(0, 2500, 500):
        server_client.run_all(
            [town.operations.add_task("one of many", task_id=id_) for id_ in ids[begin : begin + 500]]
        )
    town.run(town.operations.add_task("all", needs=ids, task_id="all"))
    content, again = saved(town), add_town(server_client)
    transfer(again).restore(loaded(content))
    assert saved(again, page=700) == content
    assert len(again.run(again.operations.task("all")).open_needs) == 2500


def test_a_town_that_changes_while_it_is_read_is_read_again(town: BareTown, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(town)
    reader = transfer(town, page=1)
    results: list[Captured] = []
    page, calls_made = reader.functions.page, [0]

    def page_after_a_change(cursor: str = "", *, size: int) -> Any:
        calls_made[0] += 1
        if calls_made[0] == 3:
            town.run(town.operations.settle_task("cancel", "free"))
        return page(cursor, size=size)

    town.run(reader.functions.page())  # the functions are there
    monkeypatch.setattr(reader.functions, "page", page_after_a_change)
    results.append(reader.read())
    assert {item.id: item.state for item in results[0].snapshot.tasks}["free"] == "cancelled"
    assert results[0].snapshot == transfer(town).read().snapshot


def test_a_corrupt_record_is_named(town: BareTown) -> None:
    fill(town)
    town.command("HSET", town.key("task:free"), "since", "yesterday")
    with pytest.raises(ProtocolViolation, match="task free"):
        saved(town)


def test_the_functions_are_loaded_if_the_server_lacks_them(server_client: BlockingClient) -> None:
    server_client.command("FUNCTION", "FLUSH")
    from tinytown.protocol import load_library

    server_client.run(load_library())
    assert saved(fresh_town(server_client)).count(b"\n") == 2


def test_a_file_of_version_1_is_restored_with_the_current_names(town: BareTown) -> None:
    content = Path(__file__).with_name("recordings").joinpath("version_1.jsonl").read_bytes()
    restored = transfer(town).restore(loaded(content))
    assert restored.added == {"agents": 8, "tasks": 9, "messages": 6, "dead_letters": 1, "plugin_data": 2}
    agents = {agent.name: agent for agent in town.run(town.operations.agents())}
    assert (agents["ben"].desired_state, agents["dan"].state, agents["cat"].state) == ("paused", "suspended", "stopped")
    words = {"wanted": "desired_state", "cold": "suspended"}
    expected = [msgspec.json.decode(line) for line in content.splitlines()[2:]]
    again = [msgspec.json.decode(line) for line in saved(town).splitlines()[2:]]
    for record in expected:
        if record["type"] == "agent":
            record["desired_state"] = record.pop("wanted")
            if "state" in record:
                record["state"] = words.get(record["state"], record["state"])
    assert again == expected


def test_a_reset_removes_the_keys_that_plugins_have_beside_their_data_and_no_others(
    server_client: BlockingClient, town: BareTown
) -> None:
    other = add_town(server_client)
    for owner in (town, other):
        for number in range(3):
            owner.command("SET", owner.operations.keys.plugin_key("rules", f"k{number}"), "v")
    transfer(town).reset()
    assert [key for key in town.dump() if key.startswith("plugin:")] == []
    assert len([key for key in other.dump() if key.startswith("plugin:")]) == 3
