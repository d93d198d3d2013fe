"""Messages between agents and the human side: kinds, priorities, and the JSON they travel as.

The encoding is that of Tinytown 0.10 for Rust: one flat object whose ``type`` names the kind and whose other members
depend on it. A kind that this version does not know is kept whole as `Unknown`. ``from`` and ``to`` hold names.
Knows nothing of mailboxes.
"""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar, Literal, TypeAlias

import msgspec

Priority = Literal["urgent", "high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = ("urgent", "high", "normal", "low")

#: How a receiver treats a message: an order to work on, a question, something to know, a receipt, or for the town itself.
Category = Literal["task", "query", "informational", "confirmation", "other"]

#: Bytes of UTF-8 that one message may carry unless the town's configuration sets another limit.
DEFAULT_MESSAGE_LIMIT_BYTES = 1 << 20


class _Body(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=False):
    category: ClassVar[Category] = "informational"
    #: The form of `text`: of `str.format`, with the body as ``{0}``.
    template: ClassVar[str] = ""

    @property
    def text(self) -> str:
        """What a reader is shown."""
        return self.template.format(self)


class TaskOrder(_Body, frozen=True, kw_only=True, tag="task"):
    """An order in free text, without a task record."""

    category: ClassVar[Category] = "task"
    template: ClassVar[str] = "{0.description}"
    description: str


class TaskAssign(_Body, frozen=True, kw_only=True, tag="task_assign"):
    """The order to work on a task of the town; its text is read from the task when the round begins."""

    category: ClassVar[Category] = "task"
    template: ClassVar[str] = "task {0.task_id}"
    task_id: str


class Query(_Body, frozen=True, kw_only=True, tag="query"):
    """A question that wants an answer."""

    category: ClassVar[Category] = "query"
    template: ClassVar[str] = "{0.question}"
    question: str


class Informational(_Body, frozen=True, kw_only=True, tag="informational"):
    """Something to know; nothing to do."""

    template: ClassVar[str] = "{0.summary}"
    summary: str


class AckType(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The kind of a confirmation: received, acknowledged, thanks, approved, or rejected with a reason."""

    type: str
    reason: str | None = None


class Confirmation(_Body, frozen=True, kw_only=True, tag="confirmation"):
    """A receipt, an approval or a rejection."""

    category: ClassVar[Category] = "confirmation"
    ack_type: AckType = AckType(type="acknowledged")

    @property
    def text(self) -> str:
        return f"{self.ack_type.type}: {self.ack_type.reason}" if self.ack_type.reason else self.ack_type.type


class Custom(_Body, frozen=True, kw_only=True, tag="custom"):
    """A kind of a plugin's own. It counts as an order: nothing is guessed from its name."""

    category: ClassVar[Category] = "task"
    template: ClassVar[str] = "[{0.kind}] {0.payload}"
    kind: str
    payload: str


class Unknown(msgspec.Struct, frozen=True, kw_only=True):
    """A kind that this version does not know, kept whole: ``raw`` is the JSON object as it came."""

    category: ClassVar[Category] = "informational"
    type: str
    raw: msgspec.Raw

    @property
    def text(self) -> str:
        return f"[{self.type}] {bytes(self.raw).decode(errors='replace')}"


Body: TypeAlias = TaskOrder | TaskAssign | Query | Informational | Confirmation | Custom


class Message(msgspec.Struct, frozen=True, kw_only=True, rename={"sender": "from", "recipient": "to"}):
    """One message: the envelope and its `body`. Times are RFC 3339 in UTC."""

    id: str
    sender: str
    recipient: str
    priority: str = "normal"
    created_at: str = ""
    correlation_id: str | None = None
    body: Body | Unknown = Informational(summary="")

    @property
    def category(self) -> Category:
        return self.body.category

    @property
    def type(self) -> str:
        return self.body.type if isinstance(self.body, Unknown) else str(self.body.__struct_config__.tag)

    @property
    def text(self) -> str:
        return self.body.text


class _Envelope(msgspec.Struct, frozen=True, kw_only=True, rename={"sender": "from", "recipient": "to"}):
    id: str
    type: str
    sender: str = ""
    recipient: str = ""
    priority: str = "normal"
    created_at: str = ""
    correlation_id: str | None = None


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)  # built on use: sending needs none


_known_types = frozenset(str(kind.__struct_config__.tag) for kind in Body.__args__)


def decode_message(raw: bytes) -> Message:
    """The message that `raw`, one JSON object, holds. Raises ValueError for anything else; unknown kinds become `Unknown`."""
    try:
        envelope: _Envelope = _decoder(_Envelope).decode(raw)
        known = envelope.type in _known_types
        body: Body | Unknown = (
            _decoder(Body).decode(raw) if known else Unknown(type=envelope.type, raw=msgspec.Raw(raw))
        )
    except RecursionError as error:
        raise ValueError("expected a message, got JSON that is nested too deeply") from error
    fields = msgspec.structs.asdict(envelope)
    del fields["type"]
    return Message(body=body, **fields)
