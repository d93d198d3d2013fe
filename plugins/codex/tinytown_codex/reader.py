"""What the records of ``codex exec --json`` mean. Knows nothing of how the CLI is called.

Source: Codex 0.171.0, seen running. `thread.started` opens a run, `item.*` carry texts and tool calls, `error` says that it is
trying again or is about to give up, `turn.completed` or `turn.failed` close the run.
"""

from __future__ import annotations

from tinytown.contracts import Usage
from tinytown.process import Exit
from tinytown_adapters import Failure, JsonLinesReader, Record, RunState, failure_of, usage_since

from tinytown_codex.items import Tools, end_tool, start_tool

_TOOLS: Tools = {
    "command_execution": ("shell", ("command",)),
    "mcp_tool_call": ("", ("arguments",)),
    "web_search": ("web search", ("query",)),
    "collab_tool_call": ("agents", ("tool", "prompt")),
}
_NO_SUCH_TOOLS = "required MCP servers failed to initialize"


class CodexReader(JsonLinesReader):
    """One run of Codex. `used_before` is what a resumed session had consumed: it counts by session, we by run."""

    def __init__(self, state: RunState, *, used_before: Usage | None = None, tools_name: str = "") -> None:
        super().__init__(state)
        self._before = used_before or Usage()
        self._tools_name = tools_name
        self._last_error = ""

    def on_record(self, record: Record) -> None:
        match record.text("type"):
            case "thread.started":
                self.state.session_used = self._before  # until it says what it has consumed
                self.state.session(record.text("thread_id"))
            case "item.started":
                start_tool(self.state, record.record("item"), _TOOLS)
            case "item.completed":
                self._complete(record.record("item"))
            case "error":
                self._error(record.text("message"))
            case "turn.completed":
                self._use(record.record("usage"))
                self.state.finish()
            case "turn.failed":
                self.state.fail(failure_of(record.text("error", "message") or self._last_error))
                self.state.finish()
            case _:
                pass

    def end(self, ended: Exit) -> None:
        """A session that is not there, a wrong setting, or a missing key are reported on stderr, or by an error alone."""
        if ended.status and not self.state.is_final:
            message = self._last_error or ended.stderr_tail.strip()
            if self._tools_name and _NO_SUCH_TOOLS.lower() in message.lower():
                self.state.fail(Failure(kind="tools_missing", reason=f"the town's tools did not start: {message}"))
            elif self._last_error or failure_of(message).kind != "other":
                self.state.fail(failure_of(message))

    def _complete(self, item: Record) -> None:
        match item.text("type"):
            case "agent_message":
                self.state.add_text(item.text("text"))
            case "file_change":
                for change in item.records("changes"):
                    self.state.log_line(f"{change.text('kind') or 'change'} {change.text('path')}")
            case "error":  # never the end: a run that it appears in may succeed
                self.state.warn(item.text("message"))
            case kind if kind in _TOOLS:
                end_tool(self.state, item, output="aggregated_output", exit_code="exit_code")
            case _:
                pass

    def _error(self, message: str) -> None:
        self._last_error = message
        if message.startswith("Reconnecting"):
            self.state.retry(failure_of(message, otherwise="unreachable"))

    def _use(self, usage: Record) -> None:
        if not usage:
            return
        total = Usage(
            input_tokens=usage.count("input_tokens"),
            output_tokens=usage.count("output_tokens"),
            cached_tokens=usage.count("cached_input_tokens"),
        )
        self.state.session_used = total
        self.state.set_usage(usage_since(total, self._before))
