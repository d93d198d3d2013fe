"""Operations on mailboxes and dead letters. Pure, no IO."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import msgspec

from tinytown.model.ids import SUPERVISOR, check_id, new_id
from tinytown.model.messages import PRIORITIES, Body, Priority, TaskAssign
from tinytown.model.results import Batch, Delivery, Inbox, Sent
from tinytown.model.text import check_one_of, check_text
from tinytown.model.time import now_rfc3339
from tinytown.protocol import decoders
from tinytown.protocol.operation import Operation
from tinytown.protocol.operation_base import OperationBase, members

_LETTERS = {"task": "t", "query": "q", "informational": "i", "confirmation": "c", "other": "o"}


class MailOperations(OperationBase):
    """Sending, claiming, settling, listing."""

    def send(
        self,
        to: str,
        body: Body,
        *,
        sender: str = SUPERVISOR,
        priority: Priority = "normal",
        message_id: str | None = None,
        correlation_id: str | None = None,
        not_before_ms: int = 0,
    ) -> Operation[Sent]:
        """Put a message into a mailbox; the same `message_id` twice is one message. `not_before_ms` is server time."""
        if not isinstance(body, TaskAssign):
            check_text("a message", body.text, self.message_limit_bytes)
        check_one_of("a priority", priority, PRIORITIES)
        message_id = check_id("a message id", message_id) if message_id else new_id()
        fields: dict[str, Any] = msgspec.to_builtins(body)
        fields |= {"priority": priority, "created_at": now_rfc3339(), "correlation_id": correlation_id}
        words = (to, sender, message_id, _LETTERS[body.category], priority, not_before_ms, len(body.text.encode()))
        return self._call("send", partial(decoders.to_sent, message_id), *words, msgspec.json.encode(fields))

    def claim(
        self,
        agent_id: str,
        *,
        token: str,
        fence: str = "",
        count: int = 1,
        orders: int = 1,
        lease_ms: int = 10_000,
        acks: Iterable[Delivery] = (),
    ) -> Operation[Batch]:
        """Acknowledge `acks`, then lease the next messages in strict order, with at most so many `orders` among them.

        `token` names this claim: the same one again gets the same messages, as long as it holds any. `fence` is the
        agent's lease token. With a negative `count` that many urgent messages, for a round in progress.
        """
        check_id("a claim token", token)
        claimed = (agent_id, fence, token, count, orders, lease_ms)
        return self._call("claim", partial(decoders.to_batch, token), *claimed, *members(acks))

    def ack(self, agent_id: str, deliveries: Iterable[Delivery]) -> Operation[tuple[bool, ...]]:
        """Remove leased messages; for each whether this lease still held it."""
        return self._once("ack", decoders.to_flags, agent_id, *members(deliveries))

    def renew(
        self, agent_id: str, deliveries: Iterable[Delivery], *, lease_ms: int = 10_000
    ) -> Operation[tuple[bool, ...]]:
        """Extend leases; for each whether this lease still held it."""
        return self._call("renew", decoders.to_flags, agent_id, lease_ms, *members(deliveries))

    def nack(
        self,
        agent_id: str,
        deliveries: Iterable[Delivery],
        *,
        delay_ms: int = 0,
        counts: bool = True,
        reason: str = "returned",
    ) -> Operation[tuple[str, ...]]:
        """Give leased messages back to their old place; for each ``queued``, ``dead`` or ``stale``."""
        return self._once("nack", decoders.to_texts, agent_id, delay_ms, int(counts), reason, *members(deliveries))

    def dead_letter(self, agent_id: str, deliveries: Iterable[Delivery], *, reason: str) -> Operation[tuple[str, ...]]:
        """Make leased messages dead letters at once; for each ``dead`` or ``stale``."""
        return self._once("nack", decoders.to_texts, agent_id, -1, 1, reason, *members(deliveries))

    def peek(self, agent: str, *, limit: int = 100) -> Operation[Inbox]:
        """The messages in a mailbox, in the order of delivery; nothing is claimed."""
        return self._call("peek", decoders.to_inbox, agent, limit)
