"""The outcome policy: what an outcome means for mail, task, agent and account; reads answers and errors as outcomes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, assert_never

import msgspec

from tinytown import contracts
from tinytown.concurrency import Escaped
from tinytown.config import RoundConfig
from tinytown.errors import BackendUnavailable, PluginFaulty, TinytownError
from tinytown.model.tasks import Fate, Task, only_task
from tinytown.model.text import shown

_TEXT_CHARACTERS = 64 * 1024
_LONGEST_DELAY_S = 300.0
_NONSENSE_S = 1e9  # decades
_SESSION_ID_CHARACTERS = 1000

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
    outcome: contracts.Outcome, limits: RoundConfig, tasks: Sequence[Task], deliveries: int, *, requested: bool = True
) -> Resolution:
    """The resolution of an outcome. `deliveries`: the highest count in the batch; `requested`: the kernel ended the round."""
    task = only_task(tasks)
    tries = task.attempts if task is not None else deliveries
    delay_s = min(limits.retry_delay_s * 2 ** min(max(0, tries - 1), 16), _LONGEST_DELAY_S)
    match outcome:
        case contracts.Finished(text=text):
            text = text[-_TEXT_CHARACTERS:]
            if task is None or limits.completion == "auto":  # the final answer says nothing about one of several tasks
                return Resolution("ack", "again" if len(tasks) > 1 else "complete", text=text)
            if task.attempts > limits.reminders:
                return Resolution("ack", "fail", reason="ended without reporting on its task", text=text)
            reason = "you ended without reporting on your task: report that it is complete, or that it failed"
            return Resolution("nack", reason=reason, text=text)
        case contracts.Failed(reason=reason, retryable=retryable):
            if task is not None and (not retryable or task.attempts >= limits.max_attempts):
                return Resolution("ack", "fail", reason=brief(reason), text=reason[-_TEXT_CHARACTERS:])
            return Resolution("nack", delay_s=delay_s, reason=brief(reason))
        case contracts.Lost(reason=reason, stderr_tail=tail):
            text = f"{reason}: {tail.strip()[-500:]}" if tail.strip() else reason
            if task is not None and task.attempts >= limits.max_attempts:
                return Resolution("ack", "fail", reason=brief(text), text=text)
            return Resolution("nack", delay_s=delay_s, reason=brief(text))
        case contracts.RateLimited(reason=reason, retry_after_s=after_s):  # the account is parked, not the mail
            throttled_ms = int(after_s * 1000) if after_s is not None and 0 < after_s < _NONSENSE_S else -1
            return Resolution("return", reason=brief(reason), throttled_ms=throttled_ms)
        case contracts.Unauthorized(reason=reason, hint=hint) | contracts.Unavailable(reason=reason, hint=hint):
            text = brief(f"{reason}; {hint}" if hint else reason)
            return Resolution("return", reason=brief(reason), stop_reason=text)
        case contracts.Interrupted(reason=reason):  # the delay: a session that interrupts itself would be a busy loop
            return Resolution("return", reason=brief(reason), delay_s=0.0 if requested else limits.retry_delay_s)
        case _:
            assert_never(outcome)


def brief(reason: str) -> str:
    """A reason of bounded length. Its end stays: that is where an error says what is wrong."""
    return shown(reason, 2000) if len(reason) <= 2000 else f"{shown(reason, 200)} {shown(reason[-1700:], 1700)}"


def read_outcome(answer: Any) -> tuple[contracts.Outcome, str]:
    """What a session returned, checked, and what was left out of it because it cannot be true.

    Raises: PluginFaulty when it is no outcome.
    """
    left_out: list[str] = []
    for name, read in (("usage", read_usage), ("session_id", _read_session_id)):
        value = getattr(answer, name, None)
        if value is not None and read(value) is None:
            left_out.append(f"{name} {shown(repr(value), 200)}")
            answer = msgspec.structs.replace(answer, **{name: None})
    try:
        outcome: contracts.Outcome = _decode_outcome(msgspec.json.encode(answer))
    except (TypeError, ValueError) as error:  # ValueError: msgspec's, and text that is not UTF-8
        raise PluginFaulty(f"expected an Outcome from the backend, got {shown(repr(answer), 200)}: {error}") from error
    return outcome, " and ".join(left_out)


def read_usage(usage: object) -> contracts.Usage | None:
    """A usage that a plugin reports; None if it is not one."""
    try:
        return msgspec.json.decode(msgspec.json.encode(usage), type=contracts.Usage)
    except (TypeError, ValueError, OverflowError):
        return None


def _read_session_id(value: object) -> object:
    is_one = isinstance(value, str) and len(value) <= _SESSION_ID_CHARACTERS and value.isprintable()
    return value if is_one else None


_decode_outcome: Any = msgspec.json.Decoder(contracts.Outcome).decode


def outcome_of(error: Exception) -> contracts.Outcome:
    """The outcome of a round that raised `error`."""
    if isinstance(error, BackendUnavailable) or (isinstance(error, PluginFaulty) and error.code == "plugin_suspended"):
        return contracts.Unavailable(reason=error.message, hint=error.hint)
    if isinstance(error, TinytownError):
        return contracts.Failed(reason=str(error))
    return contracts.Failed(reason=f"the backend raised {described(error)}")


def described(error: BaseException) -> str:
    """What a plugin raised, in one line; its own words are not trusted to be any."""
    try:
        return shown(str(error) if isinstance(error, Escaped) else repr(error), 500)
    except Exception:
        return type(error).__name__
