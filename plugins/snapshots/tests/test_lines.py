"""An invalid file is refused with the number of its line, and nothing of it is restored."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from tinytown.errors import Refused, UsageError
from tinytown.model.messages import Query
from tinytown_cli.blocking_client import BlockingClient
from tinytown_snapshots.lines import is_snapshot
from tinytown_testing.bare_town import BareTown, add_town

from .conftest import fill, loaded, saved, transfer


@pytest.fixture
def lines(town: BareTown) -> list[dict[str, Any]]:
    """The snapshot of a town with records of every kind, line by line."""
    fill(town)
    return [json.loads(line) for line in saved(town).splitlines()]


def packed(lines: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines)


def number_of(lines: list[dict[str, Any]], id_: str) -> int:
    return next(
        number
        for number, line in enumerate(lines, 1)
        if id_ in (line.get("id"), line.get("name"), line.get("field"), line["type"])
    )


def refusal(content: bytes) -> UsageError:
    with pytest.raises(UsageError) as caught:
        loaded(content)
    assert caught.value.code == "bad_snapshot"
    return caught.value


OTHER_HEADER = b'{"type":"header","format":"x","version":1,"schema":"1"}\n'


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"{}\n", b"[tinytown]\n", b'{"type":"agent"}\n', b"\x89PNG\r\n", OTHER_HEADER]
)
def test_another_format_is_refused(content: bytes) -> None:
    assert refusal(content).fields["line"] == 1


def test_a_newer_version_of_the_format_is_refused() -> None:
    head = {"type": "header", "format": "tinytown-snapshot", "version": 3, "schema": "2"}
    assert "version 3" in refusal(packed([head])).message


def test_a_newer_schema_is_refused(town: BareTown) -> None:
    head = {"type": "header", "format": "tinytown-snapshot", "version": 2, "schema": "9"}
    with pytest.raises(Refused) as caught:
        transfer(town).restore(loaded(packed([head])))
    assert caught.value.code == "other_schema"


@pytest.mark.parametrize(
    ("id_", "change", "why"),
    [
        ("ann", {"name": "supervisor"}, "human side"),
        ("ann", {"name": "a/b"}, "agent name"),
        ("ben", {"name": "ANN"}, "is that of line"),
        ("ben", {"nickname": "ann"}, "is that of line"),
        ("ann", {"seq": "1"}, "Expected `int`"),
        ("ann", {"shoe_size": 43}, "shoe_size"),
        ("colours", {"field": "a/b"}, "a field"),
        ("colours", {"value": None}, "without a value"),
        ("n.1", {"plugin": "rules", "field": "colours"}, "is that of line"),
        ("ann", {"desired_state": "asleep"}, "asleep"),
        ("ann", {"other": {"token": "7"}}, "cannot be restored"),
        ("ann", {"created_at": "yesterday"}, "yesterday"),
        ("ann", {"name": "../../../esc.log"}, "agent name"),
        ("ann", {"other": {"name": "../../../esc.log"}}, "name cannot be restored"),
        ("ann", {"other": {"open_tasks": "many"}}, "open_tasks"),
        ("ann", {"max_rounds": -1}, ">= 0"),
        ("ann", {"failures": 1 << 60}, "<= 9007199254740991"),
        ("ann", {"created_at": "0000-00-00T00:00:00.000Z"}, "year 0"),
        ("settings", {"values": {"schema": "9"}}, "no setting"),
        ("settings", {"values": {"frozen_at": "1"}}, "no setting"),
        ("settings", {"values": {"max_agents": "many"}}, "expected a number"),
        ("settings", {"values": {"a\nb": "1"}}, "no setting"),
        ("free", {"other": {"state": "completed"}}, "state cannot be restored"),
        ("free", {"other": {"meta:git": "no JSON"}}, "meta:git cannot be restored"),
        ("now", {"meta": {"git": [1]}}, "Expected `object`"),
        ("next", {"origin": 3}, "Expected `object"),
        ("free", {"title": "\u001b[2J"}, "control character"),
        ("free", {"parent": "a/b"}, "task id"),
        ("ill", {"agent_id": "x:bodies"}, "an agent's id"),
        ("ill", {"agent": "\u001b[2J"}, "an agent"),
        ("free", {"state": "running"}, "running"),
        ("free", {"state": "completed"}, "since when"),
        ("free", {"state": "assigned", "assigned_to": "zed", "agent_id": "z", "order": "free.1"}, "zed"),
        ("free", {"needs": ["now"], "open_needs": ["now"]}, "with open needs"),
        ("free", {"open_needs": ["now"]}, "not one of its needs"),
        ("free", {"description": "\u001b[2J"}, "control character"),
        ("free", {"tags": ["a:b"]}, "tag"),
        ("next", {"needs": ["gone"], "open_needs": ["gone"]}, "not in this snapshot"),
        ("now", {"id": "next"}, "is that of line"),
        ("now", {"needs": ["next"]}, "cycle"),
        ("now.1", {"agent": "ben"}, "order"),
        ("now.1", {"id": "now.2"}, "order"),
        ("why", {"agent": "zed"}, "zed"),
        ("why", {"raw": "eA=="}, "two bodies"),
        ("why", {"deliveries": None}, "Expected `int`"),
        ("ill", {"body": ..., "raw": "not base64!"}, "base64"),
        ("ill", {"priority": "soon"}, "soon"),
    ],
)
def test_an_invalid_line_is_named(lines: list[dict[str, Any]], id_: str, change: dict[str, Any], why: str) -> None:
    number = number_of(lines, id_)
    changed = {name: value for name, value in (lines[number - 1] | change).items() if value is not ...}
    error = refusal(packed([*lines[: number - 1], changed, *lines[number:]]))
    assert why in error.message
    assert error.fields["line"] > 1


def test_an_assigned_task_without_its_order_is_refused(lines: list[dict[str, Any]]) -> None:
    number = number_of(lines, "now.1")
    error = refusal(packed([*lines[: number - 1], *lines[number:]]))
    assert "its order is in no mailbox" in error.message
    assert error.fields["line"] == number_of(lines, "now")


def test_a_truncated_file_is_refused_wherever_it_ends(lines: list[dict[str, Any]]) -> None:
    whole = packed(lines)
    for end in range(0, len(whole) - 1, 97):
        if whole[end - 1 : end] != b"\n":
            refusal(whole[:end])


def test_the_order_of_the_lines_does_not_matter(lines: list[dict[str, Any]]) -> None:
    assert loaded(packed([lines[0], *reversed(lines[1:])])) == loaded(packed(lines))


@settings(deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=200))
def test_any_bytes_are_a_snapshot_or_refused(content: bytes) -> None:
    head = b'{"type":"header","format":"tinytown-snapshot","version":1,"schema":"1"}\n'
    for whole in (content, head + content, head + b'{"type":"message","body":' + content + b"}\n"):
        with contextlib.suppress(UsageError):
            loaded(whole)


def test_only_a_snapshot_may_be_replaced() -> None:
    assert is_snapshot('{"type":"header","format":"tinytown-snapshot","version":9,"schema":"1"}\nwhatever')
    assert is_snapshot("")
    for text in ("name = 'x'\n", "{}", '{"type":"header","format":"other","version":1,"schema":"1"}'):
        assert not is_snapshot(text)


def test_an_interrupted_restore_leaves_nothing(server_client: BlockingClient, town: BareTown) -> None:
    fill(town)
    snapshot, again = loaded(saved(town)), add_town(server_client)
    restore = transfer(again)
    with restore.hold() as holder:
        from tinytown_snapshots.restore_rows import rows

        restore.run(restore.functions.put(holder, list(rows(snapshot, now_ms=0, agent_ids={}, story="restored"))[:5]))
    # The command was killed here: nothing is visible, and the next one starts from scratch.
    assert again.run(again.operations.status()).tasks["assigned"] == 0
    assert again.run(again.operations.agents()) == ()
    assert saved(again).count(b"\n") == 2
    assert transfer(again).restore(snapshot).added["agents"] == 3
    assert saved(again) == saved(town)
    assert not [key for key in again.dump() if "unlisted" in key]


def test_a_second_restore_at_the_same_time_is_refused(server_client: BlockingClient, town: BareTown) -> None:
    fill(town)
    snapshot, again = loaded(saved(town)), add_town(server_client)
    with transfer(again).hold(), pytest.raises(Refused) as caught:
        transfer(again).restore(snapshot)
    assert caught.value.code == "busy"


def test_a_town_that_is_not_empty_is_not_changed(server_client: BlockingClient, town: BareTown) -> None:
    fill(town)
    snapshot = loaded(saved(town))
    for thing in ("task", "agent", "message"):
        again = add_town(server_client)
        if thing == "task":
            again.run(again.operations.add_task("mine"))
        elif thing == "agent":
            again.run(again.operations.create_agent("zed", cli="shell"))
        else:
            again.run(again.operations.send("supervisor", Query(question="mine?")))
        before = saved(again)
        with pytest.raises(Refused) as caught:
            transfer(again).restore(snapshot)
        assert caught.value.code == "not_empty"
        assert saved(again) == before


def test_a_dry_run_writes_nothing(server_client: BlockingClient, town: BareTown) -> None:
    fill(town)
    again = add_town(server_client)
    before = again.dump()
    assert transfer(again).restore(loaded(saved(town)), dry_run=True).added["tasks"] == 7
    assert again.dump() == before
