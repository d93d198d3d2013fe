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
    JsonLinesReader,
    Launch,
    Permissions,
    Plan,
    Record,
    RunNotes,
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
    default_permissions: ClassVar[Permissions] = "full"
    permissions_offered: ClassVar[tuple[Permissions, ...]] = ("read", "full")
    takes_tools: ClassVar[bool] = False

    def plan(self, launch: Launch[CliSettings]) -> Plan:
        settings = launch.settings
        arguments = ["--print", "--output-format", "stream-json", "--trust", *_PERMISSIONS[launch.permissions]]
        if settings.model:
            arguments += ["--model", settings.model]
        if launch.session is not None:
            arguments += ["--resume", launch.session.id]
        return Plan(
            arguments=[*arguments, *settings.extra_args],
            stdin=launch.prompt.encode("utf-8", "replace"),
            environment={"NO_COLOR": "1", "NO_OPEN_BROWSER": "1"},
        )

    def reader(self, notes: RunNotes, launch: Launch[CliSettings]) -> CursorReader:
        return CursorReader(notes)


class CursorReader(JsonLinesReader):
    """One run of Cursor's CLI."""

    def take(self, record: Record) -> None:
        notes = self.notes
        notes.session(record.text("session_id"))
        match record.text("type"), record.text("subtype"):
            case "assistant", _:
                for part in record.records("message", "content"):
                    notes.say(part.text("text"))
            case "tool_call", "started":
                name, call = _tool(record)
                notes.start_tool(name, call.brief("args", keys=_ABOUT))
            case "tool_call", "completed":
                notes.end_tool(_problem(_tool(record)[1]))
            case "result", subtype:
                usage = record.record("usage")
                if usage:
                    notes.use(
                        Usage(
                            input_tokens=usage.count("inputTokens"),
                            output_tokens=usage.count("outputTokens"),
                            cached_tokens=usage.count("cacheReadTokens"),
                        )
                    )
                if record.flag("is_error") or subtype not in ("", "success"):
                    notes.fail(failure_of(record.text("result") or subtype))
                    notes.finish()
                else:
                    notes.finish(record.text("result"))
            case _:
                pass

    def end(self, ended: Exit) -> None:
        """What made it fail is told on standard error alone."""
        if ended.status and not self.notes.is_final and ended.stderr_tail.strip():
            self.notes.fail(failure_of(ended.stderr_tail))


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
