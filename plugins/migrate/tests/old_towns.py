"""Towns of Tinytown 0.10 on a server, in each of its three layouts, written by hand."""

from __future__ import annotations

import json
from typing import Any, Literal

from tinytown_cli.blocking_client import BlockingClient

Layout = Literal["nameless", "json", "hash"]

ADA = "a0000000-0000-4000-8000-000000000001"
BOB = "b0000000-0000-4000-8000-000000000002"
TWIN = "c0000000-0000-4000-8000-000000000003"
GONE = "d0000000-0000-4000-8000-000000000004"
HUMAN = "00000000-0000-0000-0000-000000000001"

RUNNING = "10000000-0000-4000-8000-000000000001"
WAITING = "20000000-0000-4000-8000-000000000002"
DONE = "30000000-0000-4000-8000-000000000003"
SECOND_ON_BACKLOG = "40000000-0000-4000-8000-000000000004"
FIRST_ON_BACKLOG = "50000000-0000-4000-8000-000000000005"
ORPHAN = "60000000-0000-4000-8000-000000000006"
FORGOTTEN = "70000000-0000-4000-8000-000000000007"


def agent(id_: str, name: str, minute: int, **fields: Any) -> dict[str, Any]:
    created = f"2025-11-01T10:{minute:02d}:00.123456789+00:00"
    return {
        "id": id_, "name": name, "agent_type": "worker", "state": "idle", "cli": "claude", "created_at": created,
        "last_heartbeat": created, "tasks_completed": 4, "rounds_completed": 7, **fields,
    }  # fmt: skip


def task(id_: str, text: str, minute: int, state: str = "pending", **fields: Any) -> dict[str, Any]:
    at = f"2025-11-02T10:{minute:02d}:00Z"
    return {"id": id_, "description": text, "state": state, "created_at": at, "updated_at": at, "tags": [], **fields}


def message(number: int, type_: str, *, to: str, sender: str = HUMAN, priority: str = "normal", **body: Any) -> str:
    return json.dumps(
        {
            "id": f"e0000000-0000-4000-8000-{number:012d}", "from": sender, "to": to, "type": type_, **body,
            "priority": priority, "created_at": f"2025-11-03T10:00:{number:02d}Z", "correlation_id": None,
        }
    )  # fmt: skip


AGENTS = [
    agent(ADA, "ada", 1, nickname="Ada Mason", role_id="reviewer", state="working", current_task=RUNNING),
    agent(BOB, "bob", 2, state="stopped", parent_agent_id=ADA, cli="claude --print --verbose"),
    agent(TWIN, "ada", 3, nickname="Bad/Nick", state="paused", role_id="default"),
]
TASKS = [
    task(RUNNING, "in the middle of it", 1, "running", assigned_to=ADA, started_at="2025-11-02T11:00:00Z"),
    task(WAITING, "to be done\nnext", 2, "assigned", assigned_to=ADA, tags=["plan:t-1", "python"]),
    task(
        DONE, "done long ago", 3, "completed", assigned_to=BOB, result="it works", completed_at="2025-11-02T12:00:00Z"
    ),
    task(SECOND_ON_BACKLOG, "made first, second on the backlog", 4),
    task(FIRST_ON_BACKLOG, "first on the backlog", 5),
    task(ORPHAN, "its agent is gone", 6, "in_flight", assigned_to=GONE),
    task(FORGOTTEN, "pending and not on the backlog", 0),
]
INBOX = [
    message(9, "query", to=ADA, priority="high", question="the newer of two in front?"),
    message(8, "query", to=ADA, priority="high", question="the older of two in front?"),
    message(1, "task_assign", to=ADA, task_id=WAITING),
    message(2, "task_assign", to=ADA, task_id=DONE),
    message(3, "informational", to=ADA, sender=BOB, summary="red\x1b[31m alert"),
    message(4, "confirmation", to=ADA, ack_type={"type": "rejected", "reason": "no tests"}),
    message(5, "weather", to=ADA, degrees=21),
    "this is no JSON",
]
URGENT = [message(7, "task", to=ADA, description="the newer"), message(6, "task", to=ADA, description="the older")]


def write_old_town(client: BlockingClient, layout: Layout, name: str = "shop") -> None:
    """Write a town with records of every kind, as the Rust program wrote it."""
    base = "tt:" if layout == "nameless" else f"tt:{name}:"
    for kind, records in (("agent", AGENTS), ("task", TASKS)):
        for record in records:
            key = f"{base}{kind}:{record['id']}"
            if layout == "hash":
                texts = {k: json.dumps(v) if isinstance(v, list) else str(v) for k, v in record.items()}
                client.command("HSET", key, *(part for pair in texts.items() for part in pair))
            else:
                client.command("SET", key, json.dumps(record | {"parent_id": None}))
    client.command(
        "RPUSH", f"{base}backlog", FIRST_ON_BACKLOG, SECOND_ON_BACKLOG, "80000000-0000-4000-8000-000000000008"
    )
    client.command("RPUSH", f"{base}inbox:{ADA}", *INBOX)
    client.command("RPUSH", f"{base}urgent:{ADA}", *URGENT)
    client.command("RPUSH", f"{base}inbox:{HUMAN}", message(20, "query", to=HUMAN, sender=ADA, question="may I?"))
    client.command("RPUSH", f"{base}inbox:{GONE}", message(21, "query", to=GONE, question="anybody there?"))
    client.command("LPUSH", f"{base}activity:{ADA}", "Round 7: ok")
    client.command("SET", f"{base}stop:{TWIN}", "1")
    if layout != "nameless":
        client.command("XADD", f"{base}events", "*", "event_type", "agent_stopped", "data", "{}")
        client.command("SET", f"{base}mission:{GONE}", '{"state":"running"}')
        client.command("HSET", f"{base}mission:{GONE}:work", "w1", "{}")


#: Similar keys that are not of Tinytown 0.10, or not of its town `shop`.
STRANGERS = ["tt:{shop}:agent:" + ADA, "tt:shop:more:agent:" + GONE, "tt:shop", "tt:agent", "other:agent:" + ADA]
