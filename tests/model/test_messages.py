"""The JSON of messages: ours, and that of Tinytown 0.10 for Rust, whose recorded kinds must stay readable for ever.

Kinds that only Tinytown 0.10 sent become others when it is migrated; see the tests of ``tinytown-migrate``.
"""

from __future__ import annotations

import json
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings, strategies as st
from tinytown.model import messages
from tinytown.model.messages import (
    Body,
    Category,
    Confirmation,
    Custom,
    Informational,
    Message,
    Query,
    TaskAssign,
    TaskOrder,
    Unknown,
    decode_message,
)
from tinytown_cli.serializers import message_fields

ENVELOPE = {
    "id": "7f1c8a52-64f5-4b1e-9d0a-0f4c3f0a8e11",
    "from": "00000000-0000-0000-0000-000000000001",
    "to": "2b8f6a10-43c1-4a53-8a1e-6f7d2f0b9c77",
    "priority": "normal",
    "created_at": "2026-03-09T12:00:00.123456789Z",
    "correlation_id": None,
}

#: What an existing town of the Rust Tinytown has in its lists, one of each kind and variant that both send. Append only.
RUST: list[tuple[dict[str, Any], Category, str]] = [
    ({"type": "task", "description": "Build the API"}, "task", "Build the API"),
    ({"type": "query", "question": "Which port?"}, "query", "Which port?"),
    ({"type": "informational", "summary": "FYI: merged"}, "informational", "FYI: merged"),
    ({"type": "confirmation", "ack_type": {"type": "received"}}, "confirmation", "received"),
    ({"type": "confirmation", "ack_type": {"type": "acknowledged"}}, "confirmation", "acknowledged"),
    ({"type": "confirmation", "ack_type": {"type": "thanks"}}, "confirmation", "thanks"),
    ({"type": "confirmation", "ack_type": {"type": "approved"}}, "confirmation", "approved"),
    (
        {"type": "confirmation", "ack_type": {"type": "rejected", "reason": "no tests"}},
        "confirmation",
        "rejected: no tests",
    ),
    ({"type": "task_assign", "task_id": "91b2"}, "task", "task 91b2"),
    ({"type": "custom", "kind": "info", "payload": '{"a": [1]}'}, "task", '[info] {"a": [1]}'),
]


def encode(message: Message) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(msgspec.json.encode(message_fields(message)))
    return decoded


@pytest.mark.parametrize(("body", "category", "text"), RUST, ids=lambda value: str(value)[:60])
def test_mail_of_the_rust_tinytown_is_read_and_written_as_it_was(
    body: dict[str, Any], category: Category, text: str
) -> None:
    flat = {**ENVELOPE, **body}
    message = decode_message(json.dumps(flat).encode())
    assert encode(message) == flat
    assert (message.type, message.category, message.text) == (body["type"], category, text)
    assert (message.sender, message.recipient) == (flat["from"], flat["to"])


def test_there_is_a_sample_of_every_kind() -> None:
    kinds = {str(kind.__struct_config__.tag) for kind in get_args(Body)}
    assert {body["type"] for body, _, _ in RUST} == kinds


@pytest.mark.parametrize("priority", ["low", "normal", "high", "urgent"])
def test_every_priority_and_a_correlation_survive(priority: str) -> None:
    flat = {**ENVELOPE, "type": "query", "question": "?", "priority": priority, "correlation_id": "7f1c"}
    assert encode(decode_message(json.dumps(flat).encode())) == flat


def test_an_envelope_may_leave_out_what_has_a_default() -> None:
    message = decode_message(b'{"id":"m","type":"query","question":"?"}')
    assert (message.sender, message.recipient, message.priority, message.created_at) == ("", "", "normal", "")
    assert message.correlation_id is None


def test_members_that_a_newer_peer_added_do_not_hinder() -> None:
    message = decode_message(b'{"id":"m","type":"query","question":"?","urgency":9,"priority":"high"}')
    assert message.body == Query(question="?")


def test_a_kind_that_is_not_known_is_kept_whole() -> None:
    flat = {**ENVELOPE, "type": "vote", "motion": {"yes": [], "no": 1.5}, "text": "ü"}
    message = decode_message(json.dumps(flat).encode())
    assert isinstance(message.body, Unknown)
    assert (message.type, message.category) == ("vote", "informational")
    assert "motion" in message.text
    assert encode(message) == flat


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"7",
        b"\xff\xfe",
        b'{"id":"m"}',
        b'{"type":"query","question":"?"}',
        b'{"id":7,"type":"query","question":"?"}',
        b'{"id":"m","type":"query"}',
        b'{"id":"m","type":"confirmation","ack_type":{}}',
        b'{"id":"m","type":"query","question":"\xe9"}',
        b'{"id":"m","type":"new","x":' + b"[" * 200_000,
    ],
    ids=lambda raw: repr(raw[:40]),
)
def test_what_is_no_message_is_a_value_error_whatever_it_is(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_message(raw)


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@settings(deadline=None, database=None, derandomize=True)
@given(texts, st.sampled_from([TaskOrder, Query, Informational]), st.sampled_from(messages.PRIORITIES))
def test_any_text_travels_whole(text: str, kind: Any, priority: str) -> None:
    member = kind.__struct_fields__[0]
    message = Message(id="m", sender="ann", recipient="ben", priority=priority, body=kind(**{member: text}))
    again = decode_message(msgspec.json.encode(message_fields(message)))
    assert again == message
    assert again.text == text


def test_a_plain_confirmation_says_its_type_in_json() -> None:
    fields = message_fields(Message(id="m", sender="a", recipient="b", body=Confirmation()))
    assert fields["ack_type"] == {"type": "acknowledged"}


def test_a_body_cannot_overwrite_the_envelope() -> None:
    raw = msgspec.Raw(b'{"id":"evil","from":"evil","to":"evil","type":"vote","priority":"urgent","x":1}')
    message = Message(id="m", sender="ann", recipient="ben", body=Unknown(type="vote", raw=raw))
    fields = message_fields(message)
    assert (fields["id"], fields["from"], fields["to"], fields["priority"]) == ("m", "ann", "ben", "normal")
    assert (fields["type"], fields["x"]) == ("vote", 1)


def test_a_custom_kind_counts_as_an_order_whatever_its_name_suggests() -> None:
    for kind in ("ack", "info", "query", "build"):
        assert Custom(kind=kind, payload="x").category == "task"
    assert TaskAssign(task_id="t").category == "task"
