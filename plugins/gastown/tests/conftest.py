"""Bead files made by hand: records to vary, and whole files of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import settings
from tinytown_beads.json_text import encode

settings.register_profile("gastown", deadline=None, database=None, derandomize=True)
settings.load_profile("gastown")

MOMENT = "2026-01-14T09:30:00Z"
HEADER = '{"_schema":"beads-jsonl/1","_dolt_branch":"main","_project_id":"p","_sort":"priority"}'
MEMORY = '{"_type":"memory","key":"build","value":"run make first & then <test>"}'


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
