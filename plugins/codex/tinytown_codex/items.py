"""Items of a turn, as both protocols of Codex have them, but for the spelling of their keys. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tinytown_adapters import Record, RunState

#: Type of an item -> what the tool is called (empty: as the item says), and where it says what it is about.
Tools = Mapping[str, tuple[str, Sequence[str]]]

_LONGEST_PROBLEM = 200


def start_tool(state: RunState, item: Record, tools: Tools) -> None:
    """Report the call of a tool that an item begins; other items begin nothing."""
    if (found := tools.get(item.text("type"))) is not None:
        name, keys = found
        about = next(filter(None, (item.brief(key) for key in keys)), "")
        state.start_tool(name or f"{item.text('server')}.{item.text('tool')}", about)


def end_tool(state: RunState, item: Record, *, output: str, exit_code: str) -> None:
    """Report how the call of a tool has ended; `output` and `exit_code` are the keys of what it printed."""
    failed = item.text("status") in ("failed", "declined")
    state.end_tool(_problem(item, output, exit_code) if failed else "")


def _problem(item: Record, output: str, exit_code: str) -> str:
    """Why a tool call did not work, in a line."""
    message = item.text("error", "message") or item.text(output).strip()
    code = item.number(exit_code)
    return (message or (f"exit status {code:g}" if code is not None else item.text("status")))[-_LONGEST_PROBLEM:]
