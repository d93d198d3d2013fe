"""Moments as `bd` takes them on its command line: ``+6h``, ``tomorrow``, ``next monday``, a date. Pure."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta

from tinytown.errors import UsageError
from tinytown_beads.bead import moment, stamp

_COMPACT = re.compile(r"([+-]?)(\d{1,6})([hdwmy])")
_IN = re.compile(r"in (\d{1,6}) (hour|day|week|month|year)s?")
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def parse_moment(text: str, now: datetime | None = None) -> str:
    """The moment that `text` names, in whole seconds of UTC. Raises: UsageError."""
    now = now or datetime.now(UTC)
    words = " ".join(text.lower().split())
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if match := _COMPACT.fullmatch(words):
        count = int(match[2]) * (-1 if match[1] == "-" else 1)
        return stamp(_later(now, count, match[3]))
    if match := _IN.fullmatch(words):
        return stamp(_later(now, int(match[1]), match[2][0]))
    if words in ("now", "today", "tomorrow", "yesterday"):
        return stamp(
            now if words == "now" else midnight + timedelta(days=("yesterday", "today", "tomorrow").index(words) - 1)
        )
    if words.startswith("next "):
        name = words.removeprefix("next ")
        if name in _DAYS:
            return stamp(midnight + timedelta(days=(_DAYS.index(name) - now.weekday() - 1) % 7 + 1))
        if name in ("week", "month", "year"):
            return stamp(_later(midnight, 1, name[0]))
    parsed = moment(text.strip().replace(" ", "T"))
    if parsed is None:
        raise UsageError(f"invalid time {text[:60]!r}. Examples: +6h, tomorrow, next monday, 2025-01-15")
    return stamp(parsed)


def _later(now: datetime, count: int, unit: str) -> datetime:
    try:
        if unit in "hdw":
            return now + timedelta(hours=count * {"h": 1, "d": 24, "w": 168}[unit])
        months = now.year * 12 + now.month - 1 + count * (12 if unit == "y" else 1)
        year, month = divmod(months, 12)
        return now.replace(year=year, month=month + 1, day=min(now.day, calendar.monthrange(year, month + 1)[1]))
    except (OverflowError, ValueError, calendar.IllegalMonthError) as error:
        raise UsageError("the time is too far away") from error
