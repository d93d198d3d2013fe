"""Keys of Tinytown 0.10 are found and parsed among others, and none is changed."""

from __future__ import annotations

from typing import get_args

import pytest
from tinytown_cli.blocking_client import BlockingClient
from tinytown_migrate.source import find_keys, parse_key, read_town, town_names

from .old_towns import ADA, AGENTS, GONE, STRANGERS, TASKS, TWIN, Layout, write_old_town


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
def test_a_key_is_parsed(key: str, parsed: tuple[str | None, str, str]) -> None:
    found = parse_key(key.encode())
    assert found is not None
    assert found[:3] == parsed


@pytest.mark.parametrize("key", [f"tt:{{shop}}:agent:{ADA}", "tt:shop", "tt:agent:nobody", "tt:", "tt:x:agent:1"])
def test_other_keys_are_ignored(key: str) -> None:
    assert parse_key(key.encode()) is None


@pytest.mark.parametrize("layout", get_args(Layout))
def test_a_town_is_read_alike_from_each_layout_and_not_changed(server_client: BlockingClient, layout: Layout) -> None:
    server_client.command("FLUSHALL")
    write_old_town(server_client, layout)
    for key in STRANGERS:
        server_client.command("HSET", key, "id", "x")
    before = {key: server_client.command("DUMP", key) for key in server_client.command("KEYS", "*")}
    name = None if layout == "nameless" else "shop"
    keys = find_keys(server_client)
    town = read_town(server_client, keys, name)
    assert set(town.agents) == {item["id"] for item in AGENTS}
    assert set(town.tasks) == {item["id"] for item in TASKS}
    assert town.layouts == {"hash" if layout == "hash" else "json": len(AGENTS) + len(TASKS)}
    assert (len(town.backlog), len(town.inboxes[ADA]), len(town.urgent[ADA])) == (3, 8, 2)
    assert town.stopped == {TWIN}
    kinds = {item.kind for item in town.leftovers}
    assert kinds == ({"activity"} if layout == "nameless" else {"activity", "events", "mission"})
    assert {key: server_client.command("DUMP", key) for key in server_client.command("KEYS", "*")} == before


def test_towns_on_one_server_are_distinguished(server_client: BlockingClient) -> None:
    server_client.command("FLUSHALL")
    write_old_town(server_client, "nameless")
    write_old_town(server_client, "json", "shop")
    write_old_town(server_client, "hash", "agent")
    write_old_town(server_client, "hash", "shop:two")
    keys = find_keys(server_client)
    assert set(town_names(keys)) == {None, "shop", "agent", "shop:two"}
    for name in (None, "shop", "agent", "shop:two"):
        assert len(read_town(server_client, keys, name).agents) == len(AGENTS)


def test_an_invalid_record_is_kept_as_a_leftover(server_client: BlockingClient) -> None:
    server_client.command("FLUSHALL")
    server_client.command("SET", f"tt:shop:agent:{ADA}", "{broken")
    server_client.command("LPUSH", f"tt:shop:task:{GONE}", "a list")
    town = read_town(server_client, find_keys(server_client), "shop")
    assert (town.agents, town.tasks) == ({}, {})
    assert {item.value if isinstance(item.value, str) else item.value[0] for item in town.leftovers} == {
        "{broken",
        "a list",
    }
