"""What the records of ``--output-format stream-json`` mean. Knows nothing of how the CLI is called.

Source: Claude Code 2.1.197, seen running. `init` opens a run, `assistant` and `user` carry texts, tool calls and their
results, `system/api_retry` says that it is trying again, `result` closes the run.
"""

from __future__ import annotations

import time

import msgspec
from tinytown.contracts import Usage
from tinytown.process import Exit
from tinytown_adapters import Failure, JsonLinesReader, Record, RunState, failure_of

_ABOUT = ("command", "file_path", "path", "pattern", "url", "query", "description", "prompt")
_LIMITS = {"error_max_turns": "max_turns", "error_max_budget_usd": "max_budget_usd"}
_LONGEST_PROBLEM = 200


class ClaudeReader(JsonLinesReader):
    """One run of Claude Code. `tools_name` is what the town's MCP server was called, empty without one."""

    def __init__(self, state: RunState, tools_name: str = "") -> None:
        super().__init__(state)
        self._tools_name = tools_name
        self._used: dict[str, Usage] = {}  # by message: its records repeat what it has consumed
        self._refused_until: float | None = (
            None  # by the limits of a subscription, in seconds since 1970; 0 if not said
        )

    def on_record(self, record: Record) -> None:
        if session_id := record.text("session_id"):
            self.state.session(session_id)
        match record.text("type"), record.text("subtype"):
            case "system", "init":
                self._begin(record)
            case "system", "api_retry":
                status = record.number("error_status")
                text = record.text("error") or "an error of the model's server"
                self.state.retry(
                    failure_of(text, status=int(status) if status is not None else None, otherwise="unreachable")
                )
            case "assistant", _:
                self._assistant(record.record("message"))
            case "user", _:
                for part in record.records("message", "content"):
                    if part.text("type") == "tool_result":
                        refused = part.flag("is_error")
                        self.state.end_tool(part.brief("content")[:_LONGEST_PROBLEM] if refused else "")
            case "rate_limit_event", _:
                if record.text("rate_limit_info", "status") == "rejected":
                    self._refused_until = record.number("rate_limit_info", "resetsAt") or 0.0
            case "result", subtype:
                self._result(record, subtype)
            case _:
                pass

    def end(self, ended: Exit) -> None:
        """Wrong arguments and unknown sessions are told on stderr alone."""
        if ended.status and not self.state.is_final and ended.stderr_tail.strip():
            found = failure_of(ended.stderr_tail)
            if found.kind in ("no_session", "unauthorized", "model_unknown"):
                self.state.fail(found)

    def _begin(self, record: Record) -> None:
        for server in record.records("mcp_servers"):
            if server.text("name") == self._tools_name and server.text("status") in (
                "failed",
                "needs-auth",
                "disabled",
            ):
                self.state.warn(f"the town's tools are unavailable: MCP server is {server.text('status')}")

    def _assistant(self, message: Record) -> None:
        for part in message.records("content"):
            match part.text("type"):
                case "text":
                    self.state.add_text(part.text("text"))
                case "tool_use":
                    self.state.start_tool(part.text("name"), part.brief("input", keys=_ABOUT))
                case _:
                    pass
        if message.record("usage"):
            self._used[message.text("id")] = usage_of(message.record("usage"))
            self.state.set_usage(_sum(self._used))

    def _result(self, record: Record, subtype: str) -> None:
        state = self.state
        if record.record("usage"):
            used, cost_usd = usage_of(record.record("usage")), record.number("total_cost_usd")
            if not used.input_tokens:  # so it is when a limit of its own has ended it
                used = _sum(self._used)
            state.set_usage(msgspec.structs.replace(used, cost_usd=cost_usd))
        for denial in record.records("permission_denials"):
            tool, about = denial.text("tool_name"), denial.brief("tool_input", keys=_ABOUT)
            state.warn(f"its permissions refused {tool}: {about}" if about else f"its permissions refused {tool}")
        text = record.text("result")
        if record.flag("is_error") or subtype.startswith("error"):
            state.fail(self._failure(record, subtype, text))
            state.finish()
        else:
            state.finish(text)

    def _failure(self, record: Record, subtype: str, text: str) -> Failure:
        if subtype in _LIMITS:
            return Failure(kind="limit_reached", reason=f"the limit {_LIMITS[subtype]} of [plugins.claude] was reached")
        message = text or record.brief("errors") or subtype
        failure = failure_of(message, status=record.count("api_error_status") or None)
        if self._refused_until is not None and failure.kind in ("rate_limited", "other"):
            after_s = max(0.0, self._refused_until - time.time()) if self._refused_until else failure.retry_after_s
            return Failure(kind="rate_limited", reason=failure.reason, retry_after_s=after_s)
        return failure


def usage_of(usage: Record) -> Usage:
    """A record of usage. What was written to the cache is input like any other; what was read from it is counted apart, too."""
    cached = usage.count("cache_read_input_tokens")
    return Usage(
        input_tokens=usage.count("input_tokens") + usage.count("cache_creation_input_tokens") + cached,
        output_tokens=usage.count("output_tokens"),
        cached_tokens=cached,
    )


def _sum(parts: dict[str, Usage]) -> Usage:
    return Usage(
        input_tokens=sum(each.input_tokens for each in parts.values()),
        output_tokens=sum(each.output_tokens for each in parts.values()),
        cached_tokens=sum(each.cached_tokens for each in parts.values()),
    )
