"""What went wrong between a CLI and its model's server, classified by status code and by the words that servers use. Pure.

The words are those that vendors send and CLIs pass on; each reader may know better and make its `Failure` itself.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Literal

import msgspec
from tinytown.model.text import shown

from tinytown_adapters.rate_limit_reset import reset_after_s

FailureKind = Literal[
    "rate_limited",  # this account is throttled
    "overloaded",  # the model is overloaded, for all accounts
    "unauthorized",  # no login, or a rejected key
    "no_credit",  # a valid login without credit or quota
    "model_unknown",  # no such model, or not for this account
    "context_too_long",  # the session exceeds the model's context
    "refused",  # the model, or its server, rejects this request for good
    "server_error",
    "unreachable",  # no connection, a cut one, no answer in time
    "no_session",  # the session to resume is missing or in use
    "limit_reached",  # a limit of the settings: turns, money
    "tools_missing",  # the town's own tools did not start
    "other",
]

_LONGEST_REASON = 1000


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that went wrong: of what kind, in whose words, and after how many seconds it may be over, if that was said."""

    kind: FailureKind
    reason: str
    retry_after_s: float | None = None


def failure_of(
    text: str, *, status: int | None = None, now: datetime | None = None, otherwise: FailureKind = "other"
) -> Failure:
    """The failure that a text, and an HTTP status if there was one, speak of. `now` is the time of resets like "at 3pm"."""
    kind = _by_words(text, status) or _by_status(status, text) or otherwise
    after_s = reset_after_s(text, now) if kind in ("rate_limited", "overloaded") else None
    return Failure(
        kind=kind, reason=shown(text.strip() or f"HTTP status {status}", _LONGEST_REASON), retry_after_s=after_s
    )


# In this order: the first that is found decides. The narrow ones stand before those whose words they share.
_WORDS: tuple[tuple[FailureKind, str], ...] = (
    ("no_session", r"no (conversation|session|rollout)[^.\n]{0,40} found|session id \S+ is already in use"),
    ("no_session", r"already has an active writer|invalid session identifier|no session, task, or name matched"),
    ("no_credit", r"credit balance is too low|insufficient[_ ]quota|insufficient credit|payment required|billing"),
    ("context_too_long", r"prompt (is|as) too long|context[_ ](length|window)|maximum context|input is too long"),
    ("context_too_long", r"too many (input )?tokens"),
    ("refused", r"content[ _-]?filter|violating our usage policy"),
    (
        "rate_limited",
        r"rate[_ -]?limit|too many requests|usage limit|limit reached|hit your [\w ]{0,20}limit|resource_exhausted",
    ),
    ("rate_limited", r"quota exceeded|exceeded your current quota|\b429\b"),
    ("unauthorized", r"not logged in|log ?in again|please run /login|authenticat|unauthori[sz]ed|no auth"),
    ("unauthorized", r"invalid (x-)?api[ -]?key|api key not valid|missing (environment variable|api key)"),
    ("unauthorized", r"invalid bearer|oauth token|\b401\b"),
    ("model_unknown", r"model[^.\n]{0,60}(not found|not exist|not supported|no access|unknown)|selected model \("),
    ("model_unknown", r"unknown model|invalid model|model_not_found"),
    ("overloaded", r"overloaded|at capacity|high demand|\b529\b|\b503\b|service unavailable"),
    ("model_unknown", r"\b404\b"),
    ("server_error", r"internal server error|\b50[0-4]\b|bad gateway|api_error|server_error"),
    ("unreachable", r"econnre|enotfound|etimedout|eai_again|connection (error|refused|reset|closed)"),
    ("unreachable", r"unable to connect|timed? ?out|stream (disconnected|closed)|network|fetch failed"),
    ("unreachable", r"error sending request|error reading a body|unexpected eof|api error: terminated"),
)
_PATTERNS: tuple[tuple[FailureKind, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(words, re.IGNORECASE)) for kind, words in _WORDS
)


def _by_words(text: str, status: int | None) -> FailureKind | None:
    for kind, words in _PATTERNS:
        if words.search(text):
            # What a number or a loose word says is worth less than the status itself.
            return _by_status(status, text) or kind if kind in ("server_error", "unreachable") else kind
    return None


def _by_status(status: int | None, text: str) -> FailureKind | None:
    match status:
        case None | 200:
            return None
        case 401 | 403:
            return "unauthorized"
        case 402:
            return "no_credit"
        case 404:
            return "model_unknown"
        case 413:
            return "context_too_long"
        case 429:
            return "rate_limited"
        case 503 | 529:
            return "overloaded"
        case 408 | 409:
            return "unreachable"
        case _ if status >= 500:
            return "server_error"
        case _:
            return "refused"
