"""The outcome policy: what an outcome means for mail, task, agent and account; reads answers and errors as outcomes. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, assert_never

import msgspec

from tinytown.config import RoundConfig
from tinytown.contracts import Failed, Finished, Interrupted, Lost, Outcome, RateLimited, Unauthorized, Unavailable
from tinytown.errors import BackendUnavailable, PluginFaulty, ServerUnreachable, TinytownError
from tinytown.model.tasks import Fate, Task
from tinytown.model.text import shown

_TEXT_CHARACTERS = 64 * 1024
_LONGEST_DELAY_S = 300.0
_NONSENSE_S = 1e9  # decades

Mail = Literal["ack", "nack", "return"]


@dataclass(frozen=True, slots=True)
class Resolution:
    """What an outcome means for the round's mail and task.

    `stop_reason` sends the agent into ``error``; `throttled_ms` parks its account, for a growing time when it is -1.
    """

    mail: Mail
    fate: Fate = "again"
    delay_s: float = 0.0
    reason: str = ""
    text: str = ""
    stop_reason: str | None = None
    throttled_ms: int | None = None


def resolve(
    outcome: Outcome, limits: RoundConfig, task: Task | None, deliveries: int, *, requested: bool = True
) -> Resolution:
    """The resolution of an outcome.

    `deliveries` is the highest delivery count in the batch. `requested`: the kernel itself ended the round.
    """
    tries = task.attempts if task is not None else deliveries
    delay_s = min(limits.retry_delay_s * 2 ** min(max(0, tries - 1), 16), _LONGEST_DELAY_S)
    match outcome:
        case Finished(text=text):
            if task is None or limits.completion == "auto":
                return Resolution("ack", "complete", text=text[-_TEXT_CHARACTERS:])
            if task.attempts > limits.reminders:
                return Resolution(
                    "ack", "fail", reason="ended without reporting on its task", text=text[-_TEXT_CHARACTERS:]
                )
            return Resolution(
                "nack", reason="you ended without reporting on your task: report that it is complete, or that it failed"
            )
        case Failed(reason=reason, retryable=retryable):
            if task is not None and (not retryable or task.attempts >= limits.max_attempts):
                return Resolution("ack", "fail", reason=shown(reason, 2000), text=reason[-_TEXT_CHARACTERS:])
            return Resolution("nack", delay_s=delay_s, reason=shown(reason, 2000))
        case Lost(reason=reason, stderr_tail=tail):
            text = f"{reason}: {tail.strip()[-500:]}" if tail.strip() else reason
            if task is not None and task.attempts >= limits.max_attempts:
                return Resolution("ack", "fail", reason=shown(text, 2000), text=text)
            return Resolution("nack", delay_s=delay_s, reason=shown(text, 2000))
        case RateLimited(reason=reason, retry_after_s=after_s):  # the account is parked, not the mail
            throttled_ms = int(after_s * 1000) if after_s is not None and 0 < after_s < _NONSENSE_S else -1
            return Resolution("return", reason=shown(reason, 2000), throttled_ms=throttled_ms)
        case Unauthorized(reason=reason, hint=hint) | Unavailable(reason=reason, hint=hint):
            return Resolution("return", reason=reason, stop_reason=f"{reason}; {hint}" if hint else reason)
        case Interrupted(reason=reason):  # without the delay, a session that interrupts itself would be a busy loop
            return Resolution("return", reason=reason, delay_s=0.0 if requested else limits.retry_delay_s)
        case _:
            assert_never(outcome)


def read_outcome(answer: object) -> Outcome:
    """What a session returned, checked. Raises: PluginFaulty when it is no outcome."""
    try:
        outcome: Outcome = _decode_outcome(msgspec.json.encode(answer))
    except (TypeError, ValueError) as error:  # ValueError: msgspec's, and text that is not UTF-8
        raise PluginFaulty(f"expected an Outcome from the backend, got {shown(repr(answer), 200)}: {error}") from error
    return outcome


_decode_outcome: Any = msgspec.json.Decoder(Outcome).decode


def outcome_of(error: Exception) -> Outcome:
    """The outcome of a round that raised `error`."""
    if isinstance(error, BackendUnavailable):
        return Unavailable(reason=error.message, hint=error.hint)
    if isinstance(error, ServerUnreachable):
        return Interrupted(reason=error.message)
    if isinstance(error, TinytownError):
        return Failed(reason=str(error))
    return Failed(reason=f"the backend raised {shown(repr(error), 500)}")
