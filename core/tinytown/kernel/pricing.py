"""What a round has cost, as the ledger takes it: tokens as the backend told, money as it told or by the user's rate. Pure."""

from __future__ import annotations

from tinytown.config import RateConfig
from tinytown.contracts import Outcome, RateLimited, Unauthorized, Unavailable, Usage

UNMEASURED = "-"

_MOST = 10**15  # beyond this a number is no count of tokens, and would not be exact on the server


def charge_of(outcome: Outcome, usage: Usage | None, rate: RateConfig | None) -> str:
    """What the ledger is told of a round.

    Empty for one that never came to be; `UNMEASURED` when the backend told nothing, unless the kind is free; else input,
    output and cached tokens and the money in millionths of a dollar, -1 where neither the backend nor the user names a price.
    """
    if usage is None:
        if isinstance(outcome, RateLimited | Unauthorized | Unavailable):
            return ""
        if rate is None or rate.input_usd_per_mtok or rate.output_usd_per_mtok:
            return UNMEASURED
        usage = Usage()  # whatever it used, it was free
    counts = [min(max(0, count), _MOST) for count in (usage.input_tokens, usage.output_tokens, usage.cached_tokens)]
    return " ".join(map(str, [*counts[:2], min(counts[2], counts[0]), _money(usage, rate)]))


def _money(usage: Usage, rate: RateConfig | None) -> int:
    """The user's rate counts before what the backend says: whoever sets one knows their contract."""
    if rate is None:
        usd = usage.cost_usd
        return round(usd * 1_000_000) if usd is not None and 0 <= usd < _MOST / 1_000_000 else -1
    cached_rate = rate.input_usd_per_mtok if rate.cached_usd_per_mtok is None else rate.cached_usd_per_mtok
    cached = min(usage.cached_tokens, usage.input_tokens)
    # So many dollars for a million tokens are so many millionths of a dollar for one.
    money = (
        (usage.input_tokens - cached) * rate.input_usd_per_mtok
        + cached * cached_rate
        + usage.output_tokens * rate.output_usd_per_mtok
    )
    return round(min(max(0.0, money), float(_MOST)))
