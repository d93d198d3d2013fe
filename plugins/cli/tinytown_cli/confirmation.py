"""The confirmation that a user's words mean. Pure."""

from __future__ import annotations

from tinytown.model.messages import AckType, Confirmation


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
