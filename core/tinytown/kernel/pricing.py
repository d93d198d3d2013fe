"""The cost of a round for the ledger: tokens as reported, money as reported or by the configured rate. Pure."""

from __future__ import annotations

from tinytown.config import RateConfig
from tinytown.contracts import Outcome, RateLimited, Unauthorized, Unavailable, Usage

UNMEASURED = "-"

_MOST = 10**15  # beyond this a number is no count of tokens, and would not be exact on the server


def charge_of(outcome: Outcome, usage: Usage | None, rate: RateConfig | None) -> str:
    """The charge of a round, as `settle_round` takes it.

    Empty if the round did not take place; `UNMEASURED` when the backend reported no usage, unless the kind is free; else
    input, output and cached tokens and millionths of a dollar, -1 where neither backend nor configuration has a price.
    """
    if usage is None:
        if isinstance(outcome, RateLimited | Unauthorized | Unavailable):
            return ""
        if rate is None or rate.input_usd_per_mtok or rate.output_usd_per_mtok:
            return UNMEASURED
        usage = Usage()  # free, whatever it used
    counts = [min(max(0, count), _MOST) for count in (usage.input_tokens, usage.output_tokens, usage.cached_tokens)]
    return " ".join(map(str, [*counts[:2], min(counts[2], counts[0]), _money(usage, rate)]))


def _money(usage: Usage, rate: RateConfig | None) -> int:
    """Millionths of a dollar. A configured rate overrides what the backend reports."""
    if rate is None:
        usd = usage.cost_usd
        return round(usd * 1_000_000) if usd is not None and 0 <= usd < _MOST / 1_000_000 else -1
    cached_rate = rate.input_usd_per_mtok if rate.cached_usd_per_mtok is None else rate.cached_usd_per_mtok
    cached = min(usage.cached_tokens, usage.input_tokens)
    # Dollars per million tokens are millionths of a dollar per token.
    money = (
        (usage.input_tokens - cached) * rate.input_usd_per_mtok
        + cached * cached_rate
        + usage.output_tokens * rate.output_usd_per_mtok
    )
    return round(min(max(0.0, money), float(_MOST)))
