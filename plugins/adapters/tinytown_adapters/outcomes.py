"""How a round ended, from what the CLI said and how its process ended. Pure.

One rule for all: the record that ends a run decides, however its process ends after it. It finished with an answer and without
a failure. Without that record, the end of the process says what went wrong.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import assert_never

import msgspec
from tinytown.contracts import Failed, Finished, Lost, Outcome, RateLimited, Unauthorized, Unavailable
from tinytown.errors import ProcessFailed
from tinytown.model.text import shown
from tinytown.process import Exit

from tinytown_adapters.failures import Failure, failure_of
from tinytown_adapters.run_state import RunState

_OVERLOADED_S = 60.0
_TAIL_LENGTH = 2000
#: Statuses of a shell, or of a wrapper, for a command that is not there or cannot be run.
_NOT_THERE = (126, 127)
#: Statuses of a program that has caught the signal and says which one it was.
_BY_SIGNAL = {128 + number: number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM)}


@dataclass(frozen=True, slots=True)
class FixHints:
    """Hints for the user: how to install the CLI `title`, how to log in, which setting names its model."""

    title: str
    install: str
    login: str
    model_key: str


def outcome_of_exit(ended: Exit, state: RunState, hints: FixHints, *, limit_s: float) -> Outcome:
    """The outcome of a run that ended by itself or by its limits. `limit_s`: the time limit, in seconds."""
    by_limit = ended.reason in ("timeout", "silence")
    # What the CLI says of having been ended is not why it was.
    if state.is_final and not (by_limit and state.failure is not None and state.failure.kind == "other"):
        return outcome_of_result(state, hints)
    if ended.reason == "timeout":
        return _failed(state, _with_text(f"ended after {limit_s:g} s, the time limit of a round", state))
    if ended.reason == "silence":
        return _failed(state, _with_text("ended after too long without output", state))
    number = ended.signal if ended.status is None else _BY_SIGNAL.get(ended.status)
    if number is not None:
        name = signal.strsignal(number) or "unknown"
        reason = _with_text(f"{hints.title} was killed by signal {number} ({name})", state)
        return Lost(reason=reason, stderr_tail=ended.stderr_tail)
    if ended.status is None:
        return Lost(reason=_with_text(f"{hints.title} could not be ended", state), stderr_tail=ended.stderr_tail)
    if state.failure is not None:
        return outcome_of_failure(state.failure, state, hints)
    if ended.status in _NOT_THERE:
        return Unavailable(reason=_with_tail(f"{hints.title} cannot be started", ended), hint=hints.install)
    if ended.status != 0:
        return outcome_of_failure(failure_at_end(ended, state, hints), state, hints, guessed=state.retrying is None)
    return _failed(state, _with_text(_with_tail(f"{hints.title} ended without a result", ended), state))


def outcome_of_result(state: RunState, hints: FixHints) -> Outcome:
    """The outcome of a run whose final record has come: nothing that its process does later takes the result away."""
    if state.failure is not None:
        return outcome_of_failure(state.failure, state, hints)
    if not state.answered:
        return _failed(state, _with_text(f"{hints.title} ended its last turn without an answer", state))
    return Finished(text=state.text, usage=state.used, session_id=state.session_id)


def failure_at_end(ended: Exit, state: RunState, hints: FixHints) -> Failure:
    """The failure of a run that reported none but ended with a status: from its stderr, or from its last retry."""
    if state.retrying is not None:
        return state.retrying
    found = failure_of(ended.stderr_tail)
    return Failure(
        kind=found.kind,
        reason=_with_tail(f"{hints.title} ended with status {ended.status}", ended),
        retry_after_s=found.retry_after_s,
    )


def outcome_of_failure(failure: Failure, state: RunState, hints: FixHints, *, guessed: bool = False) -> Outcome:
    """The outcome for a failure: its cause decides whether the round is retried, and when.

    What the CLI itself says of its model's server is the vendor's fault, not the task's. What is `guessed` from the last words
    of its standard error may be anything: it counts as an attempt.
    """
    match failure.kind:
        case "rate_limited":
            return RateLimited(reason=failure.reason, retry_after_s=failure.retry_after_s)
        case "overloaded":
            wait_s = _OVERLOADED_S if failure.retry_after_s is None else failure.retry_after_s
            return RateLimited(reason=f"the model is overloaded: {failure.reason}", retry_after_s=wait_s)
        case "unauthorized":
            return Unauthorized(reason=failure.reason, hint=hints.login)
        case "no_credit":
            return Unauthorized(reason=failure.reason, hint="add credit to the account, or use another one")
        case "model_unknown":
            return Unavailable(reason=failure.reason, hint=f"set {hints.model_key} to a model of your account")
        case "context_too_long" | "refused" as cause:
            return msgspec.structs.replace(_failed(state, failure.reason, retryable=False), cause=cause)
        case "server_error" | "unreachable" if not guessed:
            return RateLimited(reason=f"{hints.title} gets no answer from its model's server: {failure.reason}")
        case "server_error" | "unreachable" | "no_session" | "limit_reached" | "tools_missing" | "other":
            return _failed(state, failure.reason)
        case _:
            assert_never(failure.kind)


def outcome_of_no_run(error: ProcessFailed, hints: FixHints) -> Outcome:
    """The outcome of a round whose CLI could not be started or supervised."""
    match error.code:
        case "command_not_found" | "command_not_executable":
            return Unavailable(reason=f"{hints.title} is not installed: {error.message}", hint=hints.install)
        case "no_such_directory":
            return Unavailable(reason=error.message, hint=error.hint)
        case "arguments_too_long":  # a CLI that takes the prompt in another way may do it
            return Failed(reason=str(error), retryable=False, cause="context_too_long")
        case "bad_argument":
            return Failed(reason=str(error), retryable=False)
        case "reaper_lost":
            return Lost(reason=str(error))
        case _:
            return Failed(reason=str(error))


def _failed(state: RunState, reason: str, *, retryable: bool = True) -> Failed:
    return Failed(reason=reason, retryable=retryable, usage=state.used, session_id=state.session_id)


def _with_text(reason: str, state: RunState) -> str:
    """What the model has said is not lost with the round."""
    return (
        f"{reason}; its last text: {shown(state.text[-_TAIL_LENGTH:], _TAIL_LENGTH)}" if state.text.strip() else reason
    )


def _with_tail(reason: str, ended: Exit) -> str:
    tail = ended.stderr_tail.strip() or ended.stdout_tail.strip()
    return f"{reason}: {shown(tail[-_TAIL_LENGTH:], _TAIL_LENGTH)}" if tail else reason
