"""What the records of Codex are read as."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tinytown.contracts import Finished, Outcome, Usage
from tinytown.process import Exit, Line
from tinytown_adapters import RunNotes
from tinytown_adapters.outcomes import Advice, outcome_of_exit
from tinytown_codex.reader import CodexReader

RECORDINGS = Path(__file__).parent / "recordings"


class Listener:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.used: list[Usage] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def usage(self, usage: Usage) -> None:
        self.used.append(usage)


def read(*records: dict[str, Any] | str, **options: Any) -> tuple[RunNotes, Listener, CodexReader]:
    listener = Listener()
    notes = RunNotes(listener)
    reader = CodexReader(notes, **options)
    for record in records:
        reader.read(Line("stdout", record if isinstance(record, str) else json.dumps(record), cut=False))
    return notes, listener, reader


def ended(status: int, stderr: str = "") -> Exit:
    return Exit(1, status, None, "exited", "", stderr, 0.1)


async def test_a_run_is_its_messages_its_commands_and_its_end() -> None:
    command = {"type": "command_execution", "command": "make test"}
    notes, listener, _ = read(
        {"type": "thread.started", "thread_id": "t1"},
        {"type": "item.started", "item": command},
        {
            "type": "item.completed",
            "item": {**command, "exit_code": 2, "status": "failed", "aggregated_output": "no rule\n"},
        },
        {"type": "item.completed", "item": {"type": "file_change", "changes": [{"path": "a.py", "kind": "add"}]}},
        {"type": "item.completed", "item": {"type": "agent_message", "text": "no Makefile"}},
        {"type": "turn.completed", "usage": {"input_tokens": 10, "cached_input_tokens": 4, "output_tokens": 2}},
    )
    assert listener.lines == ["shell: make test", "failed: no rule", "add a.py", "no Makefile"]
    assert (notes.session_id, notes.text, notes.is_final) == ("t1", "no Makefile", True)
    assert notes.used == Usage(input_tokens=10, cached_tokens=4, output_tokens=2)


async def test_what_a_resumed_session_had_consumed_before_is_not_counted_again() -> None:
    notes, _, _ = read(
        {"type": "turn.completed", "usage": {"input_tokens": 30, "cached_input_tokens": 9, "output_tokens": 7}},
        used_before=Usage(input_tokens=20, cached_tokens=9, output_tokens=4),
    )
    assert notes.used == Usage(input_tokens=10, output_tokens=3)
    assert notes.session_used == Usage(input_tokens=30, cached_tokens=9, output_tokens=7)


async def test_an_error_among_the_items_is_a_warning_and_a_reconnection_is_none_at_all() -> None:
    notes, listener, _ = read(
        {"type": "item.completed", "item": {"type": "error", "message": "no metadata"}},
        {"type": "error", "message": "Reconnecting... 1/5 (stream disconnected)"},
    )
    assert listener.lines[0] == "warning: no metadata"
    assert notes.failure is None
    assert notes.retrying is not None
    assert notes.retrying.kind == "unreachable"


async def test_a_failed_turn_is_told_by_its_message() -> None:
    notes, _, _ = read({"type": "turn.failed", "error": {"message": "unexpected status 401 Unauthorized"}})
    assert notes.failure is not None
    assert notes.failure.kind == "unauthorized"


async def test_a_run_that_ends_before_it_began_is_told_by_its_last_words() -> None:
    notes, _, reader = read()
    reader.end(ended(1, "Error: thread/resume: no rollout found for thread id 1"))
    assert notes.failure is not None
    assert notes.failure.kind == "no_session"


async def test_tools_of_the_town_that_did_not_start_are_told() -> None:
    notes, _, reader = read(tools_name="town")
    reader.end(ended(1, "Error: thread/start failed: required MCP servers failed to initialize: town: no such file"))
    assert notes.failure is not None
    assert notes.failure.kind == "tools_missing"


@pytest.mark.parametrize(
    "record",
    [
        "[]",
        "{",
        "plain words",
        '{"type": []}',
        '{"type": "item.started"}',
        '{"type": "item.completed", "item": {"type": "file_change", "changes": {}}}',
        '{"type": "item.completed", "item": {"type": "command_execution", "status": "failed", "exit_code": "x"}}',
        '{"type": "item.started", "item": {"type": "mcp_tool_call", "arguments": [1]}}',
        '{"type": "error"}',
        '{"type": "thread.started", "thread_id": 5}',
        "[" * 10_000,
    ],
)
async def test_a_record_of_another_shape_costs_itself_alone(record: str) -> None:
    notes, _, _ = read(record, {"type": "turn.completed", "usage": 5})
    assert (notes.is_final, notes.failure) == (True, None)


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*.jsonl")), ids=lambda path: path.stem)
async def test_a_run_that_is_cut_off_anywhere_has_not_finished(path: Path) -> None:
    said = [event["out"] for event in map(json.loads, path.read_text().splitlines()) if "out" in event]
    for kept in range(len(said)):
        for last in ("", said[kept][: len(said[kept]) // 2], said[kept][:-1]):
            assert not isinstance(outcome_of([*said[:kept], last]), Finished)
    assert isinstance(outcome_of(said), Finished) == (path.stem in ("answer", "tool", "failed_tool", "mcp", "resume"))


def outcome_of(lines: list[str]) -> Outcome:
    """The outcome of a run that printed these lines and ended as if all were well."""
    notes, _, *_ = read(*lines)
    return outcome_of_exit(
        Exit(1, 0, None, "exited", "", "", 0.1),
        notes,
        Advice("It", "buy one", "find the key", "model"),
        limit_s=1.0,
    )
