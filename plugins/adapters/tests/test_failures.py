"""What vendors say when something is wrong, and what it is taken for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st
from tinytown.contracts import Failed
from tinytown.errors import ProcessFailed
from tinytown_adapters import FailureKind, failure_of
from tinytown_adapters.outcomes import FixHints, outcome_of_no_run
from tinytown_adapters.rate_limit_reset import reset_after_s

NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "status", "kind"),
    [
        ("Failed to authenticate. API Error: 401 invalid x-api-key", 401, "unauthorized"),
        ("Not logged in · Please run /login", None, "unauthorized"),
        ("Missing environment variable: `OPENAI_API_KEY`.", None, "unauthorized"),
        ("No auth provided. Please log in", None, "unauthorized"),
        ("API Error: Request rejected (429) · rate_limit_error", None, "rate_limited"),
        ("Claude AI usage limit reached|1769875200", None, "rate_limited"),
        ("You've hit your usage limit. Try again in 2 hours", None, "rate_limited"),
        ("exceeded retry limit, last status: 429 Too Many Requests", None, "rate_limited"),
        ("You've hit your session limit · resets 3pm", None, "rate_limited"),
        ("insufficient_quota", 429, "no_credit"),
        ("Your credit balance is too low to access the API", 400, "no_credit"),
        ("API Error: 529 overloaded_error", 529, "overloaded"),
        ("Selected model is at capacity. Please try a different model.", None, "overloaded"),
        ("We're currently experiencing high demand, which may cause temporary errors.", None, "overloaded"),
        ("API Error: 500 api_error", 500, "server_error"),
        ("There's an issue with the selected model (nope). It may not exist", 404, "model_unknown"),
        ("The model `gpt-9` does not exist or you do not have access to it.", 404, "model_unknown"),
        ("prompt is too long: 212345 tokens > 200000 maximum", 400, "context_too_long"),
        ("No conversation found with session ID: 1", None, "no_session"),
        ("thread/resume failed: no rollout found for thread id 1", None, "no_session"),
        ("Unable to connect to API (ECONNRESET)", None, "unreachable"),
        ("Request timed out", None, "unreachable"),
        ("bad request", 400, "refused"),
        ("stream disconnected: Incomplete response returned, reason: content_filter", None, "refused"),
        ("Invalid prompt: flagged as potentially violating our usage policy", None, "refused"),
        ("bad request", 403, "unauthorized"),
        ("", 429, "rate_limited"),
        ("", 503, "overloaded"),
        ("something else", None, "other"),
        ("", None, "other"),
    ],
)
def test_it_is_told_by_status_and_words(text: str, status: int | None, kind: FailureKind) -> None:
    failure = failure_of(text, status=status)
    assert failure.kind == kind
    assert failure.reason


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("retry-after: 7", 7.0),
        ("Please try again in 1.5s.", 1.5),
        ("Please try again in 250ms.", 0.25),
        ("Try again in 1h 2m 3s", 3723.0),
        ("try again in 2 hours 5 minutes", 7500.0),
        ("resets in 3 days", 259_200.0),
        ("limit reached|1769861100", 300.0),
        ("resets_at: 1769861100000", 300.0),
        ("resets at 2026-01-31T12:10:00Z", 600.0),
        ("limit will reset at 2026-01-31 11:00:00", 0.0),
        ("your limit resets 3pm", 10_800.0),
        ("your limit resets 11:30am", 84_600.0),
        ("or try again at Feb 3rd, 2026 3:05 PM.", 3 * 86_400 + 3 * 3600 + 300),
        ("your limit resets Feb 1, 6am", 64_800.0),
        ("try again at Jan 1st, 2026 3:05 PM.", 0.0),
        ("try again at Feb 31st, 2026 3:05 PM.", None),
        ("your limit resets 3:99pm", None),
        ("rate limited", None),
        ("wait", None),
        ("resets at 2026-99-99T12:10:00Z", None),
    ],
)
def test_when_a_limit_is_over_is_read_where_it_is_said(text: str, seconds: float | None) -> None:
    assert reset_after_s(text, NOON) == (None if seconds is None else pytest.approx(seconds))


def test_only_a_limit_has_a_time_at_which_it_is_over() -> None:
    assert failure_of("rate limit, try again in 3s").retry_after_s == 3.0
    assert failure_of("unauthorized, try again in 3s").retry_after_s is None


@given(st.text() | st.from_regex(r"(try again in|resets at|resets|retry-after:|again at) [A-Z]?[\w:.,TZ+ -]{0,40}"))
def test_whatever_is_said_it_is_a_failure_with_a_time_that_can_be_waited_for(text: str) -> None:
    failure = failure_of(f"rate limit; {text}")
    assert failure.retry_after_s is None or 0 <= failure.retry_after_s <= 31 * 86_400


def test_a_prompt_that_is_too_long_for_a_command_line_may_suit_another_cli() -> None:
    hints = FixHints("It", "buy one", "find the key", "model")
    outcome = outcome_of_no_run(ProcessFailed("too long for the system", code="arguments_too_long"), hints)
    assert isinstance(outcome, Failed)
    assert (outcome.retryable, outcome.cause) == (False, "context_too_long")
    other = outcome_of_no_run(ProcessFailed("a NUL", code="bad_argument"), hints)
    assert isinstance(other, Failed)
    assert (other.retryable, other.cause) == (False, None)
