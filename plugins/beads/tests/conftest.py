"""Bead files made by hand, in the shapes that are met: one file for each age of the format, and records to vary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import settings
from tinytown_beads.json_text import encode

settings.register_profile("beads", deadline=None, database=None, derandomize=True)
settings.load_profile("beads")

MOMENT = "2026-01-14T09:30:00Z"

#: Every field of an issue with a value that is not its default.
EVERY_FIELD: dict[str, Any] = {
    "_type": "issue",
    "id": "tt-a1b",
    "title": "Say <hello> & \u2028 goodbye, \u00e9\U0001f3d8",
    "description": 'the first line\n\tand "another" \\ one',
    "design": "two parts",
    "acceptance_criteria": "it works",
    "notes": "seen on Linux",
    "spec_id": "docs/spec.md",
    "status": "closed",
    "priority": 0,
    "issue_type": "bug",
    "assignee": "rig/polecats/nux",
    "owner": "someone@example.org",
    "estimated_minutes": 0,
    "created_at": "2026-01-14T09:30:00.123456-08:00",
    "created_by": "ada",
    "updated_at": "2026-01-15T09:30:00+11:00",
    "started_at": MOMENT,
    "closed_at": MOMENT,
    "close_reason": "done",
    "closed_by_session": "s-1",
    "due_at": MOMENT,
    "defer_until": MOMENT,
    "external_ref": "gh-9",
    "source_system": "jira",
    "metadata": {"b": 1.50, "a": [1, {"deep": None}], "big": 9007199254740993},
    "compaction_level": 1,
    "compacted_at": MOMENT,
    "compacted_at_commit": "0123abc",
    "original_size": 4096,
    "labels": ["backend", "needs review"],
    "dependencies": [
        {
            "issue_id": "tt-a1b",
            "depends_on_id": "tt-b2c",
            "type": "waits-for",
            "created_at": MOMENT,
            "created_by": "ada",
            "metadata": '{"gate":"any-children"}',
            "thread_id": "t-1",
            "unknown": [1],
        }
    ],
    "comments": [
        {"id": 3, "issue_id": "tt-a1b", "author": "ada", "text": "a < b", "created_at": MOMENT, "unknown": True}
    ],
    "sender": "mayor/",
    "ephemeral": True,
    "no_history": False,
    "wisp_type": "patrol",
    "pinned": True,
    "is_template": True,
    "bonded_from": [{"source_id": "x", "bond_type": "sequential"}],
    "await_type": "timer",
    "await_id": "run-1",
    "timeout": 9007199254740993,
    "waiters": ["mayor/"],
    "source_formula": "shiny",
    "source_location": "steps[0]",
    "mol_type": "work",
    "work_type": "open_competition",
    "event_kind": "patrol.muted",
    "actor": "ada",
    "target": "tt-b2c",
    "payload": '{"a":1}',
    "dependency_count": 1,
    "dependent_count": 0,
    "comment_count": 1,
    "parent": "tt-b2c",
}

#: Keys that older programs wrote and newer ones do not know.
LEGACY: dict[str, Any] = {
    "deleted_at": MOMENT,
    "deleted_by": "ada",
    "delete_reason": "duplicate",
    "original_type": "task",
    "wisp": True,
    "agent_state": "working",
    "last_activity": MOMENT,
    "hook_bead": "tt-b2c",
    "role_bead": "tt-role",
    "role_type": "polecat",
    "rig": "shop",
    "quality_score": 0.75,
    "crystallizes": False,
    "future": {"a": [1.0, 1e3, -0.0, "\u2029"]},
}


def bead(id_: str, **fields: Any) -> dict[str, Any]:
    """A small record, an open task of priority 2; `fields` with the value None are left out."""
    record = {"id": id_, "title": f"title of {id_}", "status": "open", "priority": 2, "issue_type": "task"}
    record |= {"created_at": MOMENT, "updated_at": MOMENT, **fields}
    return {key: value for key, value in record.items() if value is not None}


def edge(source: str, target: str, type_: str = "blocks", **fields: Any) -> dict[str, Any]:
    """A dependency: `source` waits for `target`, or is its child."""
    return {"issue_id": source, "depends_on_id": target, "type": type_, "created_at": MOMENT, **fields}


def document(*records: Mapping[str, Any] | str) -> bytes:
    """A file of records; a text is a line as it is."""
    lines = [record if isinstance(record, str) else encode(record) for record in records]
    return "".join(f"{line}\n" for line in lines).encode()


HEADER = '{"_schema":"beads-jsonl/1","_dolt_branch":"main","_project_id":"p","_sort":"priority"}'
MEMORY = '{"_type":"memory","key":"build","value":"run make first & then <test>"}'
TOMBSTONE = (
    '{"id":"tt-old","title":"gone","status":"tombstone","priority":2,"issue_type":"task",'
    '"deleted_at":"2026-01-14T09:30:00-05:00","deleted_by":"ada","delete_reason":"twice","original_type":"bug"}'
)

#: Whole files by the age or the oddity that they show.
DOCUMENTS: dict[str, bytes] = {
    "every field": document(EVERY_FIELD, bead("tt-b2c")),
    "oldest": document(
        bead("bd-1", design="in two steps", acceptance_criteria="tests pass", priority=0),
        bead("bd-2", status="in_progress", priority=1, notes="half done"),
        bead("bd-10", status="closed", closed_at=MOMENT, dependencies=[edge("bd-10", "bd-1")]),
    ),
    "rich": document(
        bead("bd-abc", issue_type="epic", created_at="2026-01-14T09:30:00.123456789-07:00"),
        bead("bd-abc.1", dependencies=[edge("bd-abc.1", "bd-abc", "parent-child")]),
        bead(
            "bd-abc.2", comments=[{"id": 1, "issue_id": "bd-abc.2", "author": "ada", "text": "x", "created_at": MOMENT}]
        ),
        TOMBSTONE,
        bead("bd-g", issue_type="gate", await_type="timer", timeout=1_800_000_000_000, waiters=["mayor/"]),
        bead("bd-w", dependencies=[edge("bd-w", "bd-g"), edge("bd-w", "bd-abc", "discovered-from")]),
        bead("bd-ev", issue_type="event", event_kind="patrol.muted", actor="ada", target="bd-w", payload="{}"),
        bead("bd-mr", issue_type="merge-request", description="branch: x\ntarget: main\nsource_issue: bd-w"),
    ),
    "dolt": document(
        '{"_type": "issue", "id": "hq-wisp-1", "title": "patrol", "status": "open", "priority": 2, "ephemeral": true, '
        '"wisp_type": "patrol", "agent_state": "idle", "dependency_count": 0, "parent": "hq-x"}',
        '{"id": "gt-2", "title": "elsewhere", "status": "hooked", "priority": 1, "issue_type": "task", "dependencies": '
        '[{"issue_id": "gt-2", "depends_on_id": "gone-1", "type": "blocks", "metadata": "{}"}, '
        '{"issue_id": "other-3", "depends_on_id": "external:shop:release", "type": "blocks"}]}',
    ),
    "other lines": document(HEADER, bead("tt-1"), "", MEMORY, "   ", TOMBSTONE),
    "no final newline": document(bead("tt-1"), bead("tt-2"))[:-1],
    "CRLF": document(bead("tt-1"), MEMORY, bead("tt-2")).replace(b"\n", b"\r\n"),
    "byte order mark": b"\xef\xbb\xbf" + document(bead("tt-1")),
    "legacy keys": document(bead("tt-1", **LEGACY), bead("tt-2", wisp=True)),
    "odd spelling": document('  {"title":"a\\u0062c", "id" : "tt-1" ,"priority":1,"x":1.0e+2,"x":[ 1 , 2 ]}  '),
    "large": document(bead("tt-1", description="\U0001f3d8\u00e9<&>" * 100_000)),
    "empty": b"",
}


@pytest.fixture(params=DOCUMENTS, ids=list(DOCUMENTS))
def each_document(request: pytest.FixtureRequest) -> bytes:
    """Each of the files."""
    return DOCUMENTS[request.param]
