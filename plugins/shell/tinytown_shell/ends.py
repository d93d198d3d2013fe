"""Running a command for a round, and what its end means for every kind of command alike.

Only what a failing exit status is worth depends on the kind: that is left to the caller.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tinytown.contracts import AgentContext, Failed, Finished, Lost, Outcome, Report, Round, Unavailable
from tinytown.errors import ProcessFailed
from tinytown.process import Line
from tinytown_adapters import known_secrets, open_masked_log

ANSWER_BYTES = 64 * 1024
#: A shell ends with 128 and the number of the signal that ended its command: that is no verdict on the work.
_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM)
_TAIL_CHARACTERS = 2000
_CUT = "[the beginning is left out]"
_CUT_LINE = " [the rest of this line is left out]"


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that ended with an exit status other than 0. `tail`: the end of its error output, or else of its output."""

    status: int
    tail: str


class Answer:
    """The last `ANSWER_BYTES` of what a command prints, in whole lines."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque()
        self._size_bytes = 0
        self._cut = False

    def add(self, line: str) -> None:
        self._lines.append(line)
        self._size_bytes += len(line.encode()) + 1
        while self._size_bytes > ANSWER_BYTES and len(self._lines) > 1:
            self._size_bytes -= len(self._lines.popleft().encode()) + 1
            self._cut = True

    def __str__(self) -> str:
        return "\n".join([_CUT, *self._lines] if self._cut else self._lines)


async def run(
    context: AgentContext,
    command: tuple[str, ...],
    work: Round,
    report: Report,
    *,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    timeout_s: float = 0.0,
) -> Outcome | Ended:
    """Run `command` within the limits of `round`, reporting its lines, and say how the round ended.

    `environment` is added to the round's; a `timeout_s` other than 0 replaces the round's.
    """
    answer, environment = Answer(), {**work.environment, **(environment or {})}
    secrets = known_secrets(os.environ, environment)

    def listen(line: Line) -> None:
        keep(f"{line.text}{_CUT_LINE}" if line.cut else line.text)
        text = secrets.masked(line.text)
        report.line(text)
        if line.stream == "stdout":
            answer.add(text)

    limit_s = timeout_s or work.timeout_s
    try:
        with open_masked_log(work.log_path, secrets, limit_bytes=context.config.limits.log_bytes) as keep:
            ended = await context.processes.run(
                command,
                cwd=directory or work.directory,
                env=environment,
                on_line=listen,
                stdin=stdin,
                timeout_s=limit_s,
                silence_s=work.silence_s,
                grace_s=work.grace_s,
            )
    except ProcessFailed as error:
        return _outcome_of_no_run(error)
    stderr_tail = secrets.masked(ended.stderr_tail)
    if ended.reason == "timeout":
        return Failed(reason=_with_output(f"ended after {limit_s:g} s, the time limit of a round", answer))
    if ended.reason == "silence":
        return Failed(reason=_with_output(f"ended after {work.silence_s:g} s without any output", answer))
    if ended.status is None:
        return Lost(reason=_death(ended.signal), stderr_tail=stderr_tail)
    if ended.status == 0:
        return Finished(text=str(answer))
    if ended.status - 128 in _SIGNALS:
        return Lost(reason=_death(ended.status - 128), stderr_tail=stderr_tail)
    return Ended(ended.status, stderr_tail.strip() or str(answer).strip())


def _with_output(reason: str, answer: Answer) -> str:
    """What was printed is not lost with the round."""
    text = str(answer).strip()
    return f"{reason}; its last output: {text[-_TAIL_CHARACTERS:]}" if text else reason


def _outcome_of_no_run(error: ProcessFailed) -> Outcome:
    match error.code:
        case "command_not_found" | "command_not_executable" | "no_such_directory":
            return Unavailable(reason=error.message, hint=error.hint)
        case "arguments_too_long" | "bad_argument":
            return Failed(reason=str(error), retryable=False)
        case "reaper_lost":
            return Lost(reason=str(error))
        case _:
            return Failed(reason=str(error))


def _death(number: int | None) -> str:
    if number is None:
        return "the command could not be ended"
    return f"the command was killed by signal {number} ({signal.strsignal(number) or 'unknown'})"
