"""The events of townhalls as one line of text each. Pure."""

from __future__ import annotations

from tinytown.model.events import Event, OtherEvent


def event_text(event: Event) -> str | None:
    """One line about an event of a townhall: requests, refusals, keys; None for any other."""
    if not isinstance(event, OtherEvent):
        return None
    reported = event.fields
    match event.type:
        case "townhall_request":
            return "townhall: {principal} sent {method} {path}: {status}".format_map(_Blank(reported))
        case "townhall_refused":
            return "townhall: refused {who}: {reason}".format_map(_Blank(reported))
        case "townhall_key_created":
            return "townhall: key {name} was made: {scopes}".format_map(_Blank(reported))
        case "townhall_key_revoked":
            return "townhall: key {name} was revoked".format_map(_Blank(reported))
        case _:
            return None


class _Blank(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "?"
