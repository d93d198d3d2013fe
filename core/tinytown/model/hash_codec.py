"""From the flat text fields of a server-side record to a typed struct: times, JSON members, numbers. Pure.

A record is a Redis hash. Its times are milliseconds since 1970 by the server's clock and become RFC 3339 text in UTC;
members that hold lists or tables are JSON; an absent or empty field takes the struct's default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from tinytown.model.time import rfc3339

T = TypeVar("T", bound=msgspec.Struct)


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
