from __future__ import annotations

import msgspec
import pytest
from tinytown.model.messages import AckType, Message, decode_message
from tinytown_cli.confirmation import confirmation_from
from tinytown_cli.serializers import message_fields


@pytest.mark.parametrize(
    ("words", "ack"),
    [
        ("approved", AckType(type="approved")),
        ("Approved!", AckType(type="approved")),
        ("approved: nice work", AckType(type="approved", reason="nice work")),
        ("rejected: no tests", AckType(type="rejected", reason="no tests")),
        ("reject", AckType(type="rejected", reason="no reason given")),
        ("thanks", AckType(type="thanks")),
        ("received", AckType(type="received")),
        ("acknowledged", AckType(type="acknowledged")),
        ("ok", AckType(type="acknowledged", reason="ok")),
        ("that is not approved", AckType(type="acknowledged", reason="that is not approved")),
        ("", AckType(type="acknowledged")),
    ],
)
def test_a_confirmation_begins_with_its_kind(words: str, ack: AckType) -> None:
    confirmation = confirmation_from(words)
    assert confirmation.ack_type == ack
    message = Message(id="m", sender="a", recipient="b", body=confirmation)
    assert decode_message(msgspec.json.encode(message_fields(message))).body == confirmation
