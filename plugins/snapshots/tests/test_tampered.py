"""Snapshots that were tampered with: either they are refused whole, or what they restore is a town like any other."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings, strategies as st
from tinytown.errors import Refused, UsageError
from tinytown.model.ids import check_agent_name, check_id, check_task_id
from tinytown_cli import administration
from tinytown_cli.blocking_client import BlockingClient
from tinytown_snapshots.records import Snapshot
from tinytown_testing.bare_town import BareTown, add_town, expect_known_keys, fresh_town

from .conftest import fill, loaded, saved, transfer

_HOSTILE: list[Any] = [
    "../../../esc.log", "", "supervisor", "a:b", "\u001b[2J", "x" * 5000, "\ud800", "1", "-1", "now", "ann", "null",
    "2026-01-31T09:30:00.125Z", "9999-12-31T23:59:59.999Z", "0001-01-01T00:00:00.000Z",
    -1, 0, 1, 1 << 52, 1 << 70, 0.5, 1e400, True, None, [], ["now"], [1], {}, {"x": "y"}, {"state": "completed"}, [[]],
]  # fmt: skip
_VALUES = st.sampled_from(_HOSTILE)
_NAMES = st.sampled_from(
    "id name cli other seq state needs open_needs agent agent_id assigned_to order body raw due tags labels meta origin values "
    "held held_until completed_at created_at plugin field value priority category deliveries type parent desired_state x".split()
)


def mutated(lines: list[dict[str, Any]], data: st.DataObject) -> bytes:
    """The file with one to three changes."""
    lines = json.loads(json.dumps(lines))
    for _ in range(data.draw(st.sampled_from([1, 1, 1, 2, 3]))):
        line = data.draw(st.sampled_from(lines))
        match data.draw(st.sampled_from(["replace", "replace", "add", "remove", "repeat", "inside"])):
            case "replace":
                name = data.draw(st.sampled_from(sorted(line) or ["x"]))
                # Mostly of the same type: others seldom get further than to the first check.
                alike = [value for value in _HOSTILE if type(value) is type(line.get(name))] or _HOSTILE
                line[name] = data.draw(st.sampled_from(alike) | _VALUES)
            case "add":
                line[data.draw(_NAMES)] = data.draw(_VALUES)
            case "remove":
                line.pop(data.draw(st.sampled_from(sorted(line) or ["x"])), None)
            case "repeat":
                lines.append(dict(line))
            case _:
                line["other"] = {data.draw(_NAMES): str(data.draw(_VALUES))}
    return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines).encode()


def expect_a_town(town: BareTown, snapshot: Snapshot) -> None:
    """Everything that clients read of it can be read, and the next snapshot is the same."""
    make, run = town.operations, town.run
    for agent in run(make.agents()):
        check_agent_name(agent.name)
        check_id("an agent id", agent.id)
        assert "cannot be read" not in (agent.reason or "")
        run(make.peek(agent.id))
    for task in run(make.tasks(limit=100)):
        check_task_id(task.id)
    run(make.peek("supervisor"))
    run(administration.dead_letters(make.keys))
    run(make.status())
    run(make.setup({"max_agents": 10}))
    assert run(make.add_task("one more")).task.state == "pending"
    expect_known_keys(town)
    again = loaded(saved(town))
    assert again.agents == snapshot.agents
    assert again.tasks[: len(snapshot.tasks)] == snapshot.tasks
    assert again.messages == snapshot.messages
    assert again.plugin_data == snapshot.plugin_data


def test_a_tampered_snapshot_is_refused_or_restored_whole(server_client: BlockingClient, town: BareTown) -> None:
    fill(town)
    lines = [json.loads(line) for line in saved(town).splitlines()]
    loaded("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines).encode())
    outcomes = {"bad_snapshot": 0, "other_schema": 0, "restored": 0}

    @settings(max_examples=400, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def attempt(data: st.DataObject) -> None:
        empty = add_town(server_client)
        try:
            snapshot = loaded(mutated(lines, data))
            transfer(empty).restore(snapshot)
        except (Refused, UsageError) as error:
            outcomes[error.code] += 1
            assert not empty.run(empty.operations.agents())
            return
        expect_a_town(empty, snapshot)
        fresh_town(server_client)
        outcomes["restored"] += 1

    attempt()
    assert min(outcomes["bad_snapshot"], outcomes["restored"]) > 5, outcomes
