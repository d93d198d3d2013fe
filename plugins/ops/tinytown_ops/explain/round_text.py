"""Parts of a finished round as text: duration, tokens, cost, time."""

from __future__ import annotations

from datetime import datetime

from tinytown.model.round_records import RoundRecord


def duration(seconds: float) -> str:
    """A duration for people: ``0.4 s``, ``12 s``, ``3:05``, ``1:02:03``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def tokens(record: RoundRecord) -> str:
    """Tokens in and out, shortened: ``12.3k+450``; empty if the backend reported none."""
    used = record.usage or {}
    into, out = used.get("input_tokens") or 0, used.get("output_tokens") or 0
    return f"{_short(into)}+{_short(out)}" if into or out else ""


def cost(record: RoundRecord) -> str:
    """The cost in US dollars; empty if the backend reported none."""
    usd = (record.usage or {}).get("cost_usd")
    return "" if usd is None else f"${usd:.2f}" if usd >= 0.1 else f"${usd:.4f}"


def _short(number: float) -> str:
    for limit, unit in ((1_000_000, "M"), (1_000, "k")):
        if number >= limit:
            return f"{number / limit:.1f}{unit}"
    return f"{number:.0f}"


def clock(at: str) -> str:
    """A time for people, in the local time zone; empty for none."""
    moment = datetime.fromisoformat(at).astimezone() if at else None
    return f"{moment:%m-%d %H:%M:%S}" if moment else ""
