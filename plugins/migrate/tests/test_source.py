"""Keys of the old Tinytown are found and taken apart, whatever lies beside them, and none is changed."""

from __future__ import annotations

from typing import get_args

import pytest
from tinytown.redis import BlockingClient
from tinytown_migrate.source import find_keys, parse_key, read_town, town_names

from plugins.migrate.tests.old_towns import ADA, AGENTS, GONE, STRANGERS, TASKS, TWIN, Layout, write_old_town


@pytest.mark.parametrize(
    ("key", "parsed"),
    [
        (f"tt:agent:{ADA}", (None, "agent", ADA)),
        ("tt:backlog", (None, "backlog", "")),
        (f"tt:shop:agent:{ADA}", ("shop", "agent", ADA)),
        ("tt:agent:backlog", ("agent", "backlog", "")),
        (f"tt:agent:agent:{ADA}", ("agent", "agent", ADA)),
        (f"tt:task:inbox:{ADA}", ("task", "inbox", ADA)),
        (f"tt:a:b:task:{ADA}", ("a:b", "task", ADA)),
        (f"tt:a*[?:task:{ADA}", ("a*[?", "task", ADA)),
        ("tt:shop:events", ("shop", "events", "")),
        (f"tt:shop:events:agent:{ADA}", ("shop", "events", "")),
        (f"tt:shop:mission:{ADA}:work", ("shop", "mission", "")),
        ("tt:shop:docket:tasks", ("shop", "docket", "")),
    ],
)
def test_a_key_is_taken_apart(key: str, parsed: tuple[str | None, str, str]) -> None:
    found = parse_key(key.encode())
    assert found is not None
    assert found[:3] == parsed


@pytest.mark.parametrize("key", [f"tt:{{shop}}:agent:{ADA}", "tt:shop", "tt:agent:nobody", "tt:", "tt:x:agent:1"])
def test_what_is_no_key_of_the_old_tinytown_is_passed_over(key: str) -> None:
    assert parse_key(key.encode()) is None


@pytest.mark.parametrize("layout", get_args(Layout))
def test_a_town_is_read_alike_from_each_layout_and_left_as_it_is(client: BlockingClient, layout: Layout) -> None:
    client.command("FLUSHALL")
    write_old_town(client, layout)
    for key in STRANGERS:
        client.command("HSET", key, "id", "x")
    before = {key: client.command("DUMP", key) for key in client.command("KEYS", "*")}
    name = None if layout == "nameless" else "shop"
    keys = find_keys(client)
    town = read_town(client, keys, name)
    assert set(town.agents) == {each["id"] for each in AGENTS}
    assert set(town.tasks) == {each["id"] for each in TASKS}
    assert town.layouts == {"hash" if layout == "hash" else "json": len(AGENTS) + len(TASKS)}
    assert (len(town.backlog), len(town.inboxes[ADA]), len(town.urgent[ADA])) == (3, 8, 2)
    assert town.stopped == {TWIN}
    kinds = {each.kind for each in town.leftovers}
    assert kinds == ({"activity"} if layout == "nameless" else {"activity", "events", "mission"})
    assert {key: client.command("DUMP", key) for key in client.command("KEYS", "*")} == before


def test_towns_on_one_server_are_told_apart(client: BlockingClient) -> None:
    client.command("FLUSHALL")
    write_old_town(client, "nameless")
    write_old_town(client, "json", "shop")
    write_old_town(client, "hash", "agent")
    write_old_town(client, "hash", "shop:two")
    keys = find_keys(client)
    assert set(town_names(keys)) == {None, "shop", "agent", "shop:two"}
    for name in (None, "shop", "agent", "shop:two"):
        assert len(read_town(client, keys, name).agents) == len(AGENTS)


def test_a_record_that_is_none_is_kept_as_a_leftover(client: BlockingClient) -> None:
    client.command("FLUSHALL")
    client.command("SET", f"tt:shop:agent:{ADA}", "{broken")
    client.command("LPUSH", f"tt:shop:task:{GONE}", "a list")
    town = read_town(client, find_keys(client), "shop")
    assert (town.agents, town.tasks) == ({}, {})
    assert {each.value if isinstance(each.value, str) else each.value[0] for each in town.leftovers} == {
        "{broken",
        "a list",
    }
