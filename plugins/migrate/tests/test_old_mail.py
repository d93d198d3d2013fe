"""What only Tinytown 0.10 for Rust sent stays readable for ever, as a question or news."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tinytown.model.messages import Category
from tinytown_migrate.old_mail import read_old_message

ENVELOPE = {
    "id": "7f1c8a52-64f5-4b1e-9d0a-0f4c3f0a8e11",
    "from": "00000000-0000-0000-0000-000000000001",
    "to": "2b8f6a10-43c1-4a53-8a1e-6f7d2f0b9c77",
    "priority": "high",
    "created_at": "2026-03-09T12:00:00.123456789Z",
    "correlation_id": "91b2",
}

#: What an existing town of the Rust Tinytown has in its lists, one of each kind and variant that it alone sends. Append only.
RUST: list[tuple[dict[str, Any], Category, str]] = [
    ({"type": "task_done", "task_id": "91b2", "result": "ok"}, "informational", "task 91b2 done: ok"),
    ({"type": "task_done", "task_id": "91b2"}, "informational", "task 91b2 done: "),
    ({"type": "task_failed", "task_id": "91b2", "error": "boom"}, "informational", "task 91b2 failed: boom"),
    ({"type": "status_request"}, "query", "how are you getting on?"),
    ({"type": "status_response", "state": "idle", "current_task": None}, "informational", "idle"),
    (
        {"type": "status_response", "state": "working", "current_task": "91b2"},
        "informational",
        "working, working on 91b2",
    ),
    ({"type": "ping"}, "informational", "ping"),
    ({"type": "pong"}, "informational", "pong"),
    ({"type": "shutdown"}, "informational", "please finish and stop"),
]


@pytest.mark.parametrize(("body", "category", "text"), RUST, ids=lambda value: str(value)[:60])
def test_a_kind_of_old_keeps_its_text_and_its_envelope(body: dict[str, Any], category: Category, text: str) -> None:
    message = read_old_message(json.dumps({**ENVELOPE, **body}).encode())
    assert (message.category, message.text) == (category, text)
    assert (message.id, message.sender, message.recipient) == (ENVELOPE["id"], ENVELOPE["from"], ENVELOPE["to"])
    assert (message.priority, message.correlation_id) == ("high", "91b2")


@pytest.mark.parametrize("type_", ["task", "weather"])
def test_any_other_kind_is_read_as_it_is(type_: str) -> None:
    assert read_old_message(json.dumps({**ENVELOPE, "type": type_, "description": "do"}).encode()).type == type_


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b'{"type":["ping"]}', b'{"type":"ping"}', b'{"id":"m","type":"task_done"}', b"[" * 200_000],
    ids=lambda raw: repr(raw[:40]),
)
def test_what_is_no_message_is_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_old_message(raw)
