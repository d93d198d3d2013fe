"""The state of one run of a CLI: readers update it, the session reads it.

Knows no format. What people may want to see is passed on as it comes: each tool call, warning and paragraph is one line.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import trio
from tinytown.contracts import Report, Usage
from tinytown.model.text import escape_control, shown
from tinytown.process import Exit, Line, RunningCommand

from tinytown_adapters.failures import Failure

_LINE_LENGTH = 300
_TEXT_LENGTH = 256 * 1024


class Reader(Protocol):
    """Reads the output of one run of a CLI and writes its `RunState`. Never raises for what it reads."""

    def read(self, line: Line) -> None:
        """One line of either stream: it may be cut, not be text, or be of a kind that did not exist yesterday."""
        ...

    def end(self, ended: Exit) -> None:
        """The CLI has ended and all its lines were read: what only the end tells (an error on stderr, say)."""
        ...


def usage_since(total: Usage, before: Usage) -> Usage:
    """What a run has consumed of a session whose `total` is known, as it was `before` the run."""
    cost = None if total.cost_usd is None else max(0.0, total.cost_usd - (before.cost_usd or 0.0))
    return Usage(
        input_tokens=max(0, total.input_tokens - before.input_tokens),
        output_tokens=max(0, total.output_tokens - before.output_tokens),
        cached_tokens=max(0, total.cached_tokens - before.cached_tokens),
        cost_usd=cost,
    )


@runtime_checkable
class Conversation(Reader, Protocol):
    """A reader that also writes: of a CLI that takes instructions on its standard input while it works."""

    async def converse(self, running: RunningCommand) -> None:
        """Have the CLI do the round; its standard input is closed then. Cancelled when the CLI ends before."""
        ...


@runtime_checkable
class TakesMail(Conversation, Protocol):
    """A conversation in which the model can be shown something while it works."""

    async def deliver(self, text: str) -> bool:
        """Show it the text; whether the CLI has passed it on to the model. Cancelled when the round ends before."""
        ...


class RunState:
    """One run of a CLI. What readers call is in the present tense; what they have made of it are the attributes.

    `text` is the answer, `session_id` the CLI's own id of the session, `used` what the run has consumed, `session_used`
    what the whole session has (where a CLI counts so), `is_final` whether the record came that ends a run, `failure`
    what ended it badly, `retrying` why the CLI is trying again at the moment, `answered` whether the last turn of the model
    was a text: after a tool call there is no answer yet.
    """

    def __init__(
        self,
        report: Report,
        write_log: Callable[[str], None] = lambda text: None,
        on_session: Callable[[], None] = lambda: None,
        mask: Callable[[str], str] = lambda text: text,
        now: Callable[[], float] = trio.current_time,
    ) -> None:
        self._report = report
        self._on_session = on_session
        self._mask = mask  # secrets: of what comes in pieces, none of which has a whole one
        self._now = now
        self._write_log = write_log  # takes what is reported in full, for the log
        self._deltas: list[str] = []
        self._tools = 0
        self._questions = 0
        self.text = ""
        self.answered = False
        self.session_id: str | None = None
        self.used: Usage | None = None
        self.session_used: Usage | None = None
        self.is_final = False
        self.failure: Failure | None = None
        self.retrying: Failure | None = None
        self.retrying_since: float | None = None

    @property
    def report(self) -> Report:
        """Where what is neither text nor tool call goes: activities, and questions."""
        return self._report

    @property
    def is_waiting_for_model(self) -> bool:
        """Whether the model has to act next: no tool is at work, and no question is open."""
        return self._tools <= 0 and not self._questions

    @contextmanager
    def waiting_for_answer(self) -> Generator[None]:
        """Within the block the model waits for an answer."""
        self._questions += 1
        try:
            yield
        finally:
            self._questions -= 1

    def session(self, session_id: str) -> None:
        """The CLI's id for this session; empty is as good as not said."""
        if session_id and session_id != self.session_id:
            self.session_id = session_id
            self._on_session()

    def add_text(self, text: str) -> None:
        """A whole text of the model's: the answer, unless another one follows."""
        self._clear_retry()
        text = self._mask(text)
        if text.strip():
            self._deltas.clear()
            self.text, self.answered = text[-_TEXT_LENGTH:], True
            self._emit(text)

    def add_delta(self, delta: str) -> None:
        """A piece of a text; `end_text` ends it."""
        self._clear_retry()
        self._deltas.append(delta)

    def end_text(self) -> None:
        """The pieces so far are one text."""
        if self._deltas:
            self.add_text("".join(self._deltas))

    def start_tool(self, name: str, about: str = "") -> None:
        """The model has called a tool; `about` tells the call from others (a command, a path)."""
        self.end_text()
        self._clear_retry()
        self.answered = False
        self._tools += 1
        self._emit(f"{name}: {about}" if about else name)

    def end_tool(self, problem: str = "") -> None:
        """A tool call is over; `problem` says why it did not work."""
        self._clear_retry()
        self._tools = max(0, self._tools - 1)
        if problem:
            self._emit(f"failed: {problem}")

    def set_usage(self, usage: Usage) -> None:
        """What this run has consumed so far, in all."""
        self.used = usage
        self._report.usage(usage)

    def warn(self, text: str) -> None:
        """Something that a person should know; the run continues."""
        self._emit(f"warning: {text}")

    def log_line(self, text: str) -> None:
        """A line that belongs to no record: shown to those who watch."""
        self._emit(text)

    def retry(self, failure: Failure) -> None:
        """The CLI has met an error and is trying again by itself. Its next sign of work ends this."""
        self.retrying = failure
        if self.retrying_since is None:
            self.retrying_since = self._now()
        self._emit(f"retrying: {failure.reason}")

    def fail(self, failure: Failure) -> None:
        """The run has failed. The first failure counts."""
        self.failure = self.failure or failure

    def finish(self, text: str | None = None) -> None:
        """The record that ends a run has come, with the answer if it holds one, empty as it may be."""
        self.end_text()
        self._tools = 0
        self.is_final = True
        if text is not None:
            text = self._mask(text)
            self.text, self.answered = text[-_TEXT_LENGTH:] or self.text, bool(text.strip())

    def _clear_retry(self) -> None:
        self.retrying = self.retrying_since = None

    def _emit(self, text: str) -> None:
        self._report.line(shown(text, _LINE_LENGTH))
        self._write_log(escape_control(text[:_TEXT_LENGTH]))
