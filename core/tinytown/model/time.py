"""Moments as RFC 3339 text in UTC, and as milliseconds since 1970."""

from __future__ import annotations

import functools
from datetime import UTC, datetime

from tinytown.errors import UsageError
from tinytown.model.text import shown


@functools.lru_cache(maxsize=256)  # a record has the same moment in several fields
def rfc3339(ms: int) -> str:
    """Milliseconds since 1970 as RFC 3339 in UTC with milliseconds: ``2026-01-31T09:30:00.125Z``."""
    return f"{datetime.fromtimestamp(ms // 1000, UTC).isoformat()[:19]}.{ms % 1000:03d}Z"


def parse_rfc3339(text: str) -> int:
    """The inverse of `rfc3339`, in milliseconds. Raises ValueError for anything else."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def check_moment(text: str) -> int:
    """`text` in RFC 3339 as milliseconds since 1970. Raises: UsageError for anything else."""
    try:
        return parse_rfc3339(text)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(
            f"expected a time as in RFC 3339, got {shown(text)!r}", hint="write it like 2026-01-31T09:30:00Z"
        ) from error


def now_rfc3339() -> str:
    """This machine's time as RFC 3339 in UTC, for the envelopes of messages."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
