"""What Auggie prints with ``--output-format json``: how its MCP servers started, then one record when all is over.

Source: version 0.36.0, seen running. It reports nothing while it works, and no usage. What made it fail is reported on
standard error alone; without any record it has failed, whatever its status.
"""

from __future__ import annotations

import re

from tinytown.process import Exit, Line
from tinytown_adapters import JsonLinesReader, Record, RunState, failure_of

#: How it lists its MCP servers, before it begins on one stream or after its end on the other.
_SERVER = re.compile(r"\s*(?P<sign>🔌|✅|❌)\s+(?P<name>Waiting for|[\w-]+( \(failed\))?$)")


class AuggieReader(JsonLinesReader):
    """One run of Auggie. `tools_name` is what the town's MCP server was called, empty without one."""

    def __init__(self, state: RunState, tools_name: str = "") -> None:
        super().__init__(state)
        self._tools_name = tools_name

    def read(self, line: Line) -> None:
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
            self.state.add_text(text)
            self.state.finish()

    def end(self, ended: Exit) -> None:
        if ended.status and not self.state.is_final and ended.stderr_tail.strip():
            lines = (line.strip(" ❌\t") for line in ended.stderr_tail.splitlines())
            self.state.fail(failure_of("\n".join(line for line in lines if line)))
