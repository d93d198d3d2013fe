"""When a rate limit resets, read from vendors' messages. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_IN = re.compile(
    r"(?:retry[- _]after\"?|try again in|again in|resets? in|wait)\D{0,12}"
    r"(?:(\d{1,4})\s*d(?:ays?)?\W*)?(?:(\d{1,6})\s*h(?:(?:ou)?rs?)?\W*)?(?:(\d{1,6})\s*m(?:in(?:ute)?s?)?(?![a-z])\W*)?"
    r"(?:(\d{1,9}(?:\.\d{1,9})?)\s*(ms|s(?:ecs?|econds?)?)?\b)?",
    re.IGNORECASE,
)
_EPOCH = re.compile(r"(?:\||resets?_?at\D{0,6})(1\d{9})(\d{3})?\b")
_ISO = re.compile(
    r"(?:reset|again|until)\D{0,12}(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?)"
)
_TIME = r"(\d{1,2})(?::(\d\d))? ?([AaPp][Mm])\b"
_DATE = re.compile(
    r"(?:again|resets?)(?: at| on)? ([A-Z][a-z]{2})[a-z]* (\d{1,2})(?:st|nd|rd|th)?,? (?:(\d{4}),? )?(?:at )?" + _TIME
)
_CLOCK = re.compile(r"(?:[Rr]esets?|again)(?: at)? " + _TIME)
_LONGEST_S = 31 * 86_400.0
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def reset_after_s(text: str, now: datetime | None = None) -> float | None:
    """The seconds until a limit resets according to a message; None if it does not say.

    Understood are "try again in 1h 2m 3s", "retry-after: 7", a time of day ("resets 3pm"; the machine's own), with or
    without a date ("try again at Feb 3rd, 2026 3:05 PM"), an ISO time and seconds since 1970. More than a month is a month.
    """
    moment = now or datetime.now().astimezone()
    try:
        until = _moment_of(text, moment)
    except ValueError:  # no such day, no such hour
        return None
    after_s = _duration_s(text) if until is None else max(0.0, (until - moment).total_seconds())
    return None if after_s is None else min(after_s, _LONGEST_S)


def _moment_of(text: str, now: datetime) -> datetime | None:
    """Raises: ValueError when the text names a moment that there is not."""
    if match := _EPOCH.search(text):
        return datetime.fromtimestamp(int(match[1]), UTC)
    if match := _ISO.search(text):
        until = datetime.fromisoformat(match[1].replace("Z", "+00:00"))
        return until if until.tzinfo else until.replace(tzinfo=UTC)
    if (match := _DATE.search(text)) and match[1] in _MONTHS:
        year, month = int(match[3] or now.year), _MONTHS.index(match[1]) + 1
        return _at_clock(now.replace(year=year, month=month, day=int(match[2])), match[4], match[5], match[6])
    if match := _CLOCK.search(text):
        until = _at_clock(now, match[1], match[2], match[3])
        return until if until > now else until + timedelta(days=1)
    return None


def _at_clock(day: datetime, hour: str, minute: str | None, half: str) -> datetime:
    """That day at a time as Americans say it. Raises: ValueError when there is none such."""
    hours = int(hour) % 12 + (12 if half.lower() == "pm" else 0)
    return day.replace(hour=hours, minute=int(minute or 0), second=0, microsecond=0)


def _duration_s(text: str) -> float | None:
    match = _IN.search(text)
    if match is None or not any(match.groups()[:4]):
        return None
    days, hours, minutes, seconds, unit = match.groups()
    last_s = float(seconds or 0) / (1000 if (unit or "").lower() == "ms" else 1)
    return int(days or 0) * 86_400 + int(hours or 0) * 3_600 + int(minutes or 0) * 60 + last_s
