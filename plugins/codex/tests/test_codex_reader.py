"""What the records of Codex are read as."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tinytown.contracts import Finished, Outcome, Usage
from tinytown.process import Exit, Line
from tinytown_adapters import RunState
from tinytown_adapters.outcomes import FixHints, outcome_of_exit
from tinytown_codex.reader import CodexReader
from tinytown_testing import ReportRecorder

RECORDINGS = Path(__file__).parent / "recordings"


def read(*records: dict[str, Any] | str, **options: Any) -> tuple[RunState, ReportRecorder, CodexReader]:
    recorder = ReportRecorder()
    state = RunState(recorder)
    reader = CodexReader(state, **options)
    for record in records:
        reader.read(Line("stdout", record if isinstance(record, str) else json.dumps(record), cut=False))
    return state, recorder, reader


def ended(status: int, stderr: str = "") -> Exit:
    return Exit(1, status, None, "exited", "", stderr, 0.1)


async def test_a_run_is_its_messages_its_commands_and_its_end() -> None:
    command = {"type": "command_execution", "command": "make test"}
    state, recorder, _ = read(
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
    assert recorder.lines == ["shell: make test", "failed: no rule", "add a.py", "no Makefile"]
    assert (state.session_id, state.text, state.is_final) == ("t1", "no Makefile", True)
    assert state.used == Usage(input_tokens=10, cached_tokens=4, output_tokens=2)


async def test_what_a_resumed_session_had_consumed_before_is_not_counted_again() -> None:
    state, _, _ = read(
        {"type": "turn.completed", "usage": {"input_tokens": 30, "cached_input_tokens": 9, "output_tokens": 7}},
        used_before=Usage(input_tokens=20, cached_tokens=9, output_tokens=4),
    )
    assert state.used == Usage(input_tokens=10, output_tokens=3)
    assert state.session_used == Usage(input_tokens=30, cached_tokens=9, output_tokens=7)


async def test_an_error_among_the_items_is_a_warning_and_a_reconnection_is_none_at_all() -> None:
    state, recorder, _ = read(
        {"type": "item.completed", "item": {"type": "error", "message": "no metadata"}},
        {"type": "error", "message": "Reconnecting... 1/5 (stream disconnected)"},
    )
    assert recorder.lines[0] == "warning: no metadata"
    assert state.failure is None
    assert state.retrying is not None
    assert state.retrying.kind == "unreachable"


async def test_a_failed_turn_is_told_by_its_message() -> None:
    state, _, _ = read({"type": "turn.failed", "error": {"message": "unexpected status 401 Unauthorized"}})
    assert state.failure is not None
    assert state.failure.kind == "unauthorized"


async def test_a_run_that_ends_before_it_began_is_told_by_its_last_words() -> None:
    state, _, reader = read()
    reader.end(ended(1, "Error: thread/resume: no rollout found for thread id 1"))
    assert state.failure is not None
    assert state.failure.kind == "no_session"


async def test_tools_of_the_town_that_did_not_start_are_told() -> None:
    state, _, reader = read(tools_name="town")
    reader.end(ended(1, "Error: thread/start failed: required MCP servers failed to initialize: town: no such file"))
    assert state.failure is not None
    assert state.failure.kind == "tools_missing"


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
    state, _, _ = read(record, {"type": "turn.completed", "usage": 5})
    assert (state.is_final, state.failure) == (True, None)


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*.jsonl")), ids=lambda path: path.stem)
async def test_a_run_that_is_cut_off_anywhere_has_not_finished(path: Path) -> None:
    message = [event["out"] for event in map(json.loads, path.read_text().splitlines()) if "out" in event]
    for kept in range(len(message)):
        for last in ("", message[kept][: len(message[kept]) // 2], message[kept][:-1]):
            assert not isinstance(outcome_of([*message[:kept], last]), Finished)
    assert isinstance(outcome_of(message), Finished) == (
        path.stem in ("answer", "tool", "failed_tool", "mcp", "resume")
    )


def outcome_of(lines: list[str]) -> Outcome:
    """The outcome of a run that printed these lines and ended as if all were well."""
    state, _, *_ = read(*lines)
    return outcome_of_exit(
        Exit(1, 0, None, "exited", "", "", 0.1),
        state,
        FixHints("It", "buy one", "find the key", "model"),
        limit_s=1.0,
    )
