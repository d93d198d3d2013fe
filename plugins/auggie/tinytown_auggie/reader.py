"""What Auggie prints with ``--output-format json``: how its MCP servers started, then one record when all is over.

Source: version 0.36.0, seen running. It reports nothing while it works, and no usage. What made it fail is reported on
standard error alone; without any record it has failed, whatever its status.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
from tinytown.process import Exit, Line
from tinytown_adapters import Failure, JsonLinesReader, Record, RunState, failure_of, read_agent_file

#: How it lists its MCP servers, before it begins on one stream or after its end on the other.
_SERVER = re.compile(r"\s*(?P<sign>🔌|✅|❌)\s+(?P<name>Waiting for|[\w-]+( \(failed\))?$)")
#: What it may say when it starts while its service cannot be reached. It then waits, and may ask its model without the prompt.
_STARTED_ALONE = re.compile(r"Warning: Could not fetch .*\bfetch failed\b")
_LONGEST_SESSION_BYTES = 256 * 1024 * 1024


class _Exchange(msgspec.Struct):
    request_message: str = ""


class _Turn(msgspec.Struct):
    exchange: _Exchange = msgspec.field(default_factory=_Exchange)


class _Session(msgspec.Struct, rename="camel"):
    chat_history: tuple[_Turn, ...] = ()


def was_asked(session: Path, prompt: str) -> bool | None:
    """Whether Auggie's file of a session has an exchange with this prompt, whatever its spaces have become: else its model has
    not seen it. None if the file does not say."""
    try:
        turns = msgspec.json.decode(read_agent_file(session, _LONGEST_SESSION_BYTES), type=_Session).chat_history
    except (OSError, ValueError):
        return None
    words = "".join(prompt.split())
    return any(words in "".join(turn.exchange.request_message.split()) for turn in reversed(turns)) if turns else None


class AuggieReader(JsonLinesReader):
    """One run of Auggie. `tools_name` is what the town's MCP server was called, empty without one; `was_asked` says of a
    session's id whether the model was asked the prompt there, None if that is not known."""

    def __init__(
        self, state: RunState, tools_name: str = "", was_asked: Callable[[str], bool | None] = lambda _: True
    ) -> None:
        super().__init__(state)
        self._tools_name = tools_name
        self._was_asked = was_asked
        self._started_alone = False
        self._answered_in: str | None = None

    def read(self, line: Line) -> None:
        self._started_alone |= line.stream == "stderr" and bool(_STARTED_ALONE.match(line.text))
        found = _SERVER.match(line.text)
        if found is None:
            super().read(line)
        elif found["sign"] == "❌" and found["name"].partition(" ")[0] == self._tools_name:
            self.state.warn("the town's tools are unavailable: MCP server failed")

    def on_record(self, record: Record) -> None:
        if record.text("type") != "result":
            return
        self.state.session(record.text("session_id"))
        text = record.text("result")
        if record.flag("is_error") or record.text("subtype") not in ("", "success"):
            self.state.fail(failure_of(text or record.text("subtype")))
            self.state.finish()
        else:
            self._answered_in = record.text("session_id")
            self.state.add_text(text)
            self.state.finish()

    def end(self, ended: Exit) -> None:
        if ended.status and not self.state.is_final and ended.stderr_tail.strip():
            lines = (line.strip(" ❌\t") for line in ended.stderr_tail.splitlines())
            self.state.fail(failure_of("\n".join(line for line in lines if line)))
        if self._answered_in is not None:
            asked = self._was_asked(self._answered_in)  # its file is written after the record, before it ends by itself
            if (asked is False and ended.status == 0) or (self._started_alone and not asked):
                reason = "its service could not be reached when it started, and its model was asked without the prompt"
                self.state.fail(Failure(kind="unreachable", reason=reason))
