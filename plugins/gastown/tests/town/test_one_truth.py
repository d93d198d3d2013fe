"""What is ready is the same wherever somebody looks, and for the agents that take work by themselves."""

from __future__ import annotations

import json
from typing import Any

from tinytown_testing.shell import Shell

#: A child of a deferred parent, and a child of a closed parent that needs something.
PARENTS: list[dict[str, Any]] = [
    {"id": "a-1", "title": "p", "issue_type": "epic", "defer_until": "2099-01-01T00:00:00Z"},
    {"id": "a-2", "title": "kid", "dependencies": [["a-1", "parent-child"]]},
    {"id": "b-1", "title": "blocker"},
    {"id": "b-2", "title": "p", "status": "closed", "dependencies": [["b-1", "blocks"]]},
    {"id": "b-3", "title": "kid", "dependencies": [["b-2", "parent-child"]]},
    {"id": "c-1", "title": "p", "dependencies": [["b-1", "blocks"]]},
    {"id": "c-2", "title": "kid", "dependencies": [["c-1", "parent-child"]]},
    {"id": "c-3", "title": "kid of a kid", "dependencies": [["c-2", "parent-child"]]},
]


def test_ready_is_the_same_everywhere(tt: Shell) -> None:
    tt("init", "--name", "t")
    records = [
        {
            "status": "open", "priority": 2, "labels": ["work"], **record,
            "dependencies": [
                {"issue_id": record["id"], "depends_on_id": target, "type": type_}
                for target, type_ in record.get("dependencies", ())
            ],
        }
        for record in PARENTS
    ]  # fmt: skip
    (tt.directory / "beads.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    tt("beads", "import", "beads.jsonl")
    expected = {"b-1", "b-3"}
    assert {row["id"] for row in tt.json("beads", "ready")["ready"]} == expected
    assert {row["id"] for row in tt.json("beads", "ready", "beads.jsonl")["ready"]} == expected
    assert {row["id"] for row in tt.json("ready")["tasks"]} == expected
    assert [tt.json("ready", "--limit", str(limit))["more"] for limit in (1, 2)] == [True, False]
    assert {row["id"] for row in tt.json("backlog", "list")["tasks"]} == expected
    program = ("-m", "tinytown_gastown.bd")
    assert {row["id"] for row in tt("ready", "--json", program=program).json} == expected
    tt("spawn", "ann", "--cli", "echo", "--tags", "work")
    claimed = {tt.json("ready", "--claim", "--agent", "ann")["tasks"][0]["id"] for _ in range(2)}
    assert claimed == expected
    tt("ready", "--claim", "--agent", "ann", code=3)
    tt("task", "complete", "b-1")
    assert {row["id"] for row in tt.json("ready")["tasks"]} == {"c-1", "c-2", "c-3"}
