"""When a channel may notify: quiet hours, times of a digest, and how often at most. Pure."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta, tzinfo

import msgspec

_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_DAY = timedelta(days=1)


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """`quiet` from one time of the day to another; `digest`: at these times only; `zone` None is the machine's own."""

    quiet: tuple[time, time] | None = None
    digest: tuple[time, ...] = ()
    at_most_every_s: float = 0.0
    zone: tzinfo | None = None

    def due_at(self, *, oldest: float, last: float, now: float) -> float:
        """When to notify of what has waited since `oldest`, after the `last` notification: seconds since 1970, `now` or later."""
        due = max(now, min(last, now) + self.at_most_every_s)  # a clock that was set back leaves moments to come behind
        if self.digest:
            due = max(due, self._next_digest(min(oldest, now)))
        return self._end_of_quiet(due)

    def _next_digest(self, after: float) -> float:
        """The first time of the digest after a moment."""
        begin = self._local(after)
        return min(self._seconds(_next(begin, moment)) for moment in self.digest)

    def _end_of_quiet(self, moment: float) -> float:
        """The moment itself, or when the quiet hours end that it is in."""
        if self.quiet is None:
            return moment
        begin, end = self.quiet
        here = self._local(moment)
        clock = here.time()
        is_quiet = begin <= clock < end if begin < end else clock >= begin or clock < end
        return self._seconds(_next(here, end)) if is_quiet else moment

    def _local(self, moment: float) -> datetime:
        """A moment on the clock of the wall, which the times of the settings are compared with."""
        return datetime.fromtimestamp(moment, self.zone).replace(tzinfo=None)

    def _seconds(self, local: datetime) -> float:
        return local.replace(tzinfo=self.zone).timestamp()


def _next(local: datetime, moment: time) -> datetime:
    """The first time after `local` at which the clock shows `moment`."""
    today = datetime.combine(local.date(), moment)
    return today if today > local else today + _DAY


def read_time(text: str) -> time:
    """``07:30`` as a time of the day. Raises ValueError for anything else."""
    if match := _TIME.fullmatch(text.strip()):
        return time(int(match[1]), int(match[2]))
    raise ValueError(f"expected a time such as 07:30, got {text!r}")


def read_quiet_hours(text: str) -> tuple[time, time] | None:
    """``22:00-07:00`` as its two times; None for an empty text. Raises ValueError for anything else."""
    if not text:
        return None
    begin, dash, end = text.partition("-")
    if not dash:
        raise ValueError(f"expected hours such as 22:00-07:00, got {text!r}")
    hours = read_time(begin), read_time(end)
    if hours[0] == hours[1]:
        raise ValueError(f"expected quiet hours that end, got {text!r}")
    return hours
