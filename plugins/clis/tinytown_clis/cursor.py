"""Cursor's CLI: ``cursor-agent -p`` with the prompt on standard input, ``--output-format stream-json`` for one record a line.

Source: its documentation (cursor.com/docs/cli, "Parameters" and "Output format"). It has not been run by us: it needs a
login to do anything at all. `system/init` opens a run, `assistant` carries a message, `tool_call` a tool's beginning and end,
`result` closes it; a run that fails ends with another status and an error on standard error, without a `result`.
MCP servers it takes from files in the workspace or in your home alone, so the town's tools are not offered as such.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from tinytown.contracts import Usage
from tinytown.process import Exit
from tinytown_adapters import (
    CliAdapter,
    CliSettings,
    CommandSpec,
    JsonLinesReader,
    Permissions,
    Record,
    RunRequest,
    RunState,
    failure_of,
)

_ABOUT = ("command", "path", "pattern", "globPattern", "query", "url")
_PERMISSIONS: Mapping[Permissions, Sequence[str]] = {"read": ("--mode", "ask"), "write": (), "full": ("--force",)}


class CursorAdapter(CliAdapter[CliSettings]):
    """Cursor's CLI."""

    plugin: ClassVar[str] = "clis.cursor"
    kind: ClassVar[str] = "cursor"
    title: ClassVar[str] = "Cursor's CLI"
    command: ClassVar[tuple[str, ...]] = ("cursor-agent",)
    install: ClassVar[str] = "follow cursor.com/docs/cli/installation"
    login: ClassVar[str] = "log in with cursor-agent login, or set CURSOR_API_KEY before the kernel starts"
    login_variables: ClassVar[tuple[str, ...]] = ("CURSOR_API_KEY",)
    own_variables: ClassVar[tuple[str, ...]] = ("CURSOR_*",)
    session_variables: ClassVar[tuple[str, ...]] = ("CURSOR_AGENT", "CURSOR_SESSION*", "CURSOR_TRACE_ID")
    default_permissions: ClassVar[Permissions] = "full"
    permissions_offered: ClassVar[tuple[Permissions, ...]] = ("read", "full")
    state_paths: ClassVar[tuple[str, ...]] = ("~/.cursor", "~/.config/cursor")
    project_code: ClassVar[tuple[str, ...]] = (".cursor/hooks.json", ".cursor/mcp.json")
    takes_tools: ClassVar[bool] = False

    def command_spec(self, request: RunRequest[CliSettings]) -> CommandSpec:
        settings = request.settings
        arguments = ["--print", "--output-format", "stream-json", "--trust", *_PERMISSIONS[request.permissions]]
        if settings.model:
            arguments += ["--model", settings.model]
        if request.session is not None:
            arguments += ["--resume", request.session.id]
        return CommandSpec(
            arguments=[*arguments, *settings.extra_args],
            stdin=request.prompt_bytes,
            environment={"NO_COLOR": "1", "NO_OPEN_BROWSER": "1"},
        )

    def reader(self, state: RunState, request: RunRequest[CliSettings]) -> CursorReader:
        return CursorReader(state)


class CursorReader(JsonLinesReader):
    """One run of Cursor's CLI."""

    def on_record(self, record: Record) -> None:
        state = self.state
        state.session(record.text("session_id"))
        match record.text("type"), record.text("subtype"):
            case "assistant", _:
                for part in record.records("message", "content"):
                    state.add_text(part.text("text"))
            case "tool_call", "started":
                name, call = _tool(record)
                state.start_tool(name, call.brief("args", keys=_ABOUT))
            case "tool_call", "completed":
                state.end_tool(_problem(_tool(record)[1]))
            case "result", subtype:
                usage = record.record("usage")
                if usage:
                    state.set_usage(
                        Usage(
                            input_tokens=usage.count("inputTokens"),
                            output_tokens=usage.count("outputTokens"),
                            cached_tokens=usage.count("cacheReadTokens"),
                        )
                    )
                if record.flag("is_error") or subtype not in ("", "success"):
                    state.fail(failure_of(record.text("result") or subtype))
                    state.finish()
                else:
                    state.finish(record.text("result"))
            case _:
                pass

    def end(self, ended: Exit) -> None:
        """What made it fail is reported on standard error alone."""
        if ended.status and not self.state.is_final and ended.stderr_tail.strip():
            self.state.fail(failure_of(ended.stderr_tail))


def _tool(record: Record) -> tuple[str, Record]:
    """The name and the members of the one call in a record: ``{"shellToolCall": {"args": ..., "result": ...}}``."""
    calls = record.get("tool_call")
    names = [str(name) for name in calls] if isinstance(calls, dict) else []  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    name = names[0] if names else "tool"
    return name.removesuffix("ToolCall"), record.record("tool_call", name)


def _problem(call: Record) -> str:
    result = call.record("result")
    if not result or result.record("success") or result.get("success") is not None:
        return ""
    return result.brief("error", keys=("error", "message")) or result.brief("rejected", keys=("reason",)) or "it failed"
