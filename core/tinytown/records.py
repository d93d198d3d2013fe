"""From the flat text fields of a server-side record to a typed struct: times, JSON members, numbers. Pure.

A record is a Redis hash. Its times are milliseconds since 1970 by the server's clock and become RFC 3339 text in UTC;
members that hold lists or tables are JSON; an absent or empty field takes the struct's default.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from tinytown.errors import UsageError
from tinytown.names import shown

T = TypeVar("T", bound=msgspec.Struct)


@functools.lru_cache(maxsize=256)  # a record has the same moment in several fields
def rfc3339(ms: int) -> str:
    """Milliseconds since 1970 as RFC 3339 in UTC with milliseconds: ``2026-01-31T09:30:00.125Z``."""
    return f"{datetime.fromtimestamp(ms // 1000, UTC).isoformat()[:19]}.{ms % 1000:03d}Z"


def parse_rfc3339(text: str) -> int:
    """The inverse of `rfc3339`, in milliseconds. Raises ValueError for anything else."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def check_moment(text: str) -> int:
    """What somebody has written as RFC 3339, in milliseconds since 1970. Raises: UsageError for anything else."""
    try:
        return parse_rfc3339(text)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(
            f"expected a time as in RFC 3339, got {shown(text)!r}", hint="write it like 2026-01-31T09:30:00Z"
        ) from error


def pairs(flat: Sequence[bytes | int] | Mapping[bytes, bytes | int]) -> dict[str, str]:
    """The fields of a hash as text, from either form that a server answers with: a flat list or a map."""
    items = [part for item in flat.items() for part in item] if isinstance(flat, Mapping) else flat
    texts = [part.decode("utf-8", "replace") if isinstance(part, bytes) else str(part) for part in items]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def read_record(
    kind: type[T], fields: Mapping[str, str], *, times: frozenset[str] = frozenset(), json: frozenset[str] = frozenset()
) -> T:
    """A `kind` from the text `fields` of its record. Raises ValueError (of msgspec) when a field does not fit."""
    values: dict[str, Any] = {}
    for name, text in fields.items():
        if text == "":
            continue
        if name in times:
            values[name] = rfc3339(int(text))
        elif name in json:
            values[name] = msgspec.json.decode(text)
        else:
            values[name] = text
    return msgspec.convert(values, kind, strict=False)
