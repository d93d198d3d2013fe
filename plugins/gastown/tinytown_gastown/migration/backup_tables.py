"""The dump of a bead database, one JSONL file per table, as records of the interchange format. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from tinytown_beads.fields import EDGE_KEYS, ISSUE_KEYS
from tinytown_beads.json_text import as_list, as_object, decode

_FLAGS = ("ephemeral", "no_history", "pinned", "is_template")
_COMMENT_KEYS = ("id", "issue_id", "author", "text", "created_at")


def rows_of(content: bytes) -> list[dict[str, Any]]:
    """The rows of one table; lines that are no objects are left out."""
    rows: list[dict[str, Any]] = []
    for line in content.split(b"\n"):
        try:
            row = as_object(decode(line.decode())) if line.strip() else None
        except ValueError:
            continue
        if row is not None:
            rows.append(row)
    return rows


def records_of(tables: Mapping[str, Iterable[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The beads that the tables `issues`, `dependencies`, `labels` and `comments` hold, and memories of `config`."""
    labels: dict[str, list[str]] = defaultdict(list)
    for row in tables.get("labels", ()):
        labels[str(row.get("issue_id"))].append(str(row.get("label")))
    edges: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in tables.get("dependencies", ()):
        target = row.get("depends_on_id") or row.get("depends_on_external")
        edge = {**row, "depends_on_id": target}
        edges[str(row.get("issue_id"))].append({key: edge[key] for key in EDGE_KEYS if edge.get(key) not in (None, "")})
    comments: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in tables.get("comments", ()):
        comments[str(row.get("issue_id"))].append({key: row[key] for key in _COMMENT_KEYS if key in row})
    records = [_record(row, labels, edges, comments) for row in tables.get("issues", ())]
    for row in tables.get("config", ()):
        key, value = str(row.get("key", "")), row.get("value")
        if key.startswith("kv.memory.") and value:
            records.append({"_type": "memory", "key": key.removeprefix("kv.memory."), "value": str(value)})
    return records


def _record(
    row: Mapping[str, Any],
    labels: Mapping[str, list[str]],
    edges: Mapping[str, list[dict[str, Any]]],
    comments: Mapping[str, list[dict[str, Any]]],
) -> dict[str, Any]:
    stored: dict[str, Any] = {key: row.get(key) for key in ISSUE_KEYS}
    id_ = str(row.get("id"))
    stored |= {"_type": "issue", "timeout": row.get("timeout_ns") or row.get("timeout")}
    stored |= {flag: True if row.get(flag) in (1, True, "1") else None for flag in _FLAGS}
    for key in ("metadata", "waiters"):
        stored[key] = _json(row.get(key))
    stored |= {"labels": sorted(labels.get(id_, [])), "dependencies": edges.get(id_), "comments": comments.get(id_)}
    record = {key: value for key, value in stored.items() if value not in (None, "", [], {}, 0)}
    record["priority"] = row.get("priority") or 0
    return {key: record[key] for key in ISSUE_KEYS if key in record}


def _json(value: object) -> Any:
    """A column that holds JSON as text."""
    if not isinstance(value, str):
        return value
    try:
        parsed = decode(value) if value else None
    except ValueError:
        return None
    return parsed if as_object(parsed) or as_list(parsed) else None
