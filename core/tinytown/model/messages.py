"""Messages between agents and the human side: kinds, priorities, and the JSON they travel as.

The encoding is that of Tinytown 0.10 for Rust, so its mail can be read: one flat object whose ``type`` names the kind
and whose other members depend on it. A kind that this version does not know is kept whole as `Unknown`. ``from`` and
``to`` hold names (old mail: ids). Knows nothing of mailboxes.
"""

from __future__ import annotations

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

    @property
    def text(self) -> str:
        """What a reader is shown."""
        return ""


class TaskOrder(_Body, frozen=True, kw_only=True, tag="task"):
    """An order in free text, without a task record."""

    category: ClassVar[Category] = "task"
    description: str

    @property
    def text(self) -> str:
        return self.description


class TaskAssign(_Body, frozen=True, kw_only=True, tag="task_assign"):
    """The order to work on a task of the town; its text is read from the task when the round begins."""

    category: ClassVar[Category] = "task"
    task_id: str

    @property
    def text(self) -> str:
        return f"task {self.task_id}"


class Query(_Body, frozen=True, kw_only=True, tag="query"):
    """A question that wants an answer."""

    category: ClassVar[Category] = "query"
    question: str

    @property
    def text(self) -> str:
        return self.question


class Informational(_Body, frozen=True, kw_only=True, tag="informational"):
    """Something to know; nothing to do."""

    summary: str

    @property
    def text(self) -> str:
        return self.summary


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


class TaskDone(_Body, frozen=True, kw_only=True, tag="task_done"):
    """News that a task is completed."""

    task_id: str
    result: str = ""

    @property
    def text(self) -> str:
        return f"task {self.task_id} done: {self.result}"


class TaskFailed(_Body, frozen=True, kw_only=True, tag="task_failed"):
    """News that a task has failed."""

    task_id: str
    error: str = ""

    @property
    def text(self) -> str:
        return f"task {self.task_id} failed: {self.error}"


class StatusRequest(_Body, frozen=True, kw_only=True, tag="status_request"):
    """The question how an agent is getting on."""

    category: ClassVar[Category] = "query"

    @property
    def text(self) -> str:
        return "how are you getting on?"


class StatusResponse(_Body, frozen=True, kw_only=True, tag="status_response"):
    """The answer to a status request."""

    state: str
    current_task: str | None = None

    @property
    def text(self) -> str:
        return f"{self.state}, working on {self.current_task}" if self.current_task else self.state


class Ping(_Body, frozen=True, kw_only=True, tag="ping"):
    """Are you there?"""

    @property
    def text(self) -> str:
        return "ping"


class Pong(_Body, frozen=True, kw_only=True, tag="pong"):
    """Yes."""

    @property
    def text(self) -> str:
        return "pong"


class Shutdown(_Body, frozen=True, kw_only=True, tag="shutdown"):
    """A request to come to an end."""

    category: ClassVar[Category] = "other"

    @property
    def text(self) -> str:
        return "please finish and stop"


class Custom(_Body, frozen=True, kw_only=True, tag="custom"):
    """A kind of a plugin's own. It counts as an order: nothing is guessed from its name."""

    category: ClassVar[Category] = "task"
    kind: str
    payload: str

    @property
    def text(self) -> str:
        return f"[{self.kind}] {self.payload}"


class Unknown(msgspec.Struct, frozen=True, kw_only=True):
    """A kind that this version does not know, kept whole: ``raw`` is the JSON object as it came."""

    category: ClassVar[Category] = "informational"
    type: str
    raw: msgspec.Raw

    @property
    def text(self) -> str:
        return f"[{self.type}] {bytes(self.raw).decode(errors='replace')}"


Body: TypeAlias = (
    TaskOrder
    | TaskAssign
    | Query
    | Informational
    | Confirmation
    | TaskDone
    | TaskFailed
    | StatusRequest
    | StatusResponse
    | Ping
    | Pong
    | Shutdown
    | Custom
)


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


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_body: Any = msgspec.json.Decoder(Body).decode
_known_types = frozenset(str(kind.__struct_config__.tag) for kind in Body.__args__)


def decode_message(raw: bytes) -> Message:
    """The message that `raw`, one JSON object, holds. Raises ValueError when it is none; unknown kinds become `Unknown`."""
    try:
        envelope = _decode_envelope(raw)
        known = envelope.type in _known_types
        body: Body | Unknown = _decode_body(raw) if known else Unknown(type=envelope.type, raw=msgspec.Raw(raw))
    except RecursionError as error:
        raise ValueError("expected a message, got JSON that is nested too deeply") from error
    return Message(
        id=envelope.id,
        sender=envelope.sender,
        recipient=envelope.recipient,
        priority=envelope.priority,
        created_at=envelope.created_at,
        correlation_id=envelope.correlation_id,
        body=body,
    )


def message_fields(message: Message) -> dict[str, Any]:
    """The flat object that a message is in JSON, ready for `msgspec.json.encode`."""
    if isinstance(message.body, Unknown):
        fields: dict[str, Any] = msgspec.json.decode(message.body.raw)
    else:
        fields = msgspec.to_builtins(message.body)
    return {
        "id": message.id,
        "from": message.sender,
        "to": message.recipient,
        **{name: value for name, value in fields.items() if name not in _ENVELOPE_NAMES},
        "priority": message.priority,
        "created_at": message.created_at,
        "correlation_id": message.correlation_id,
    }


_ENVELOPE_NAMES = frozenset({"id", "from", "to", "priority", "created_at", "correlation_id"})


def confirmation_from(text: str) -> Confirmation:
    """The confirmation that a person's words mean: ``approved``, ``rejected: why``, ``thanks``, ``received``.

    Only the first word counts, and anything else is a plain acknowledgement with the words as its reason.
    """
    word, _, rest = text.strip().partition(":")
    first = word.split()[0].rstrip(".,!").lower() if word.split() else ""
    reason = rest.strip() or None
    if first in ("rejected", "reject"):
        return Confirmation(ack_type=AckType(type="rejected", reason=reason or "no reason given"))
    if first in ("received", "approved", "thanks", "acknowledged"):
        return Confirmation(ack_type=AckType(type=first, reason=reason))
    return Confirmation(ack_type=AckType(type="acknowledged", reason=text.strip() or None))
