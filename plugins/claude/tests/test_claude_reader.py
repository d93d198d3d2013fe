"""What the records of Claude Code are read as."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tinytown.contracts import Finished, Outcome, Usage
from tinytown.process import Exit, Line
from tinytown_adapters import RunState
from tinytown_adapters.outcomes import FixHints, outcome_of_exit
from tinytown_claude.reader import ClaudeReader

RECORDINGS = Path(__file__).parent / "recordings"


class Listener:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.used: list[Usage] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def usage(self, usage: Usage) -> None:
        self.used.append(usage)


def read(*records: dict[str, Any] | str) -> tuple[RunState, Listener]:
    recorder = Listener()
    state = RunState(recorder)
    reader = ClaudeReader(state, "town")
    for record in records:
        reader.read(Line("stdout", record if isinstance(record, str) else json.dumps(record), cut=False))
    return state, recorder


async def test_a_tool_call_is_one_line_and_its_refusal_another() -> None:
    call = {"type": "tool_use", "name": "Bash", "input": {"command": "git push\n", "description": "x"}}
    refusal = {"type": "tool_result", "content": "needs approval", "is_error": True}
    state, recorder = read(
        {"type": "assistant", "message": {"content": [call]}}, {"type": "user", "message": {"content": [refusal]}}
    )
    assert recorder.lines == ["Bash: git push", "failed: needs approval"]
    assert state.is_waiting_for_model


async def test_usage_is_that_of_each_message_once_and_then_the_results() -> None:
    message = {
        "id": "m1",
        "content": [],
        "usage": {"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 1},
    }
    final = {"input_tokens": 7, "output_tokens": 5}
    state, recorder = read(
        {"type": "assistant", "message": message},
        {"type": "assistant", "message": message},
        {"type": "result", "subtype": "success", "result": "done", "usage": final, "total_cost_usd": 0.25},
    )
    assert recorder.used[1] == Usage(input_tokens=7, output_tokens=1, cached_tokens=4)
    assert state.used == Usage(input_tokens=7, output_tokens=5, cost_usd=0.25)
    assert (state.is_final, state.failure, state.text) == (True, None, "done")


async def test_success_with_an_error_in_it_is_a_failure() -> None:
    result = {
        "type": "result",
        "subtype": "success",
        "is_error": True,
        "api_error_status": 401,
        "result": "API Error: 401",
    }
    state, _ = read(result)
    assert state.failure is not None
    assert state.failure.kind == "unauthorized"


@pytest.mark.parametrize("limit", ["max_turns", "max_budget_usd"])
async def test_a_limit_of_the_settings_is_named_and_what_was_consumed_is_not_lost(limit: str) -> None:
    state, _ = read(
        {"type": "assistant", "message": {"id": "m1", "content": [], "usage": {"input_tokens": 3, "output_tokens": 1}}},
        {
            "type": "result",
            "subtype": f"error_{limit}",
            "is_error": True,
            "usage": {"input_tokens": 0},
            "total_cost_usd": 0.5,
        },
    )
    assert state.failure is not None
    assert state.failure.kind == "limit_reached"
    assert limit in state.failure.reason
    assert state.used == Usage(input_tokens=3, output_tokens=1, cost_usd=0.5)


async def test_a_limit_of_a_subscription_says_itself_when_it_is_over() -> None:
    limit = {"status": "rejected", "resetsAt": time.time() + 3600, "rateLimitType": "five_hour"}
    state, _ = read(
        {"type": "rate_limit_event", "rate_limit_info": limit},
        {"type": "result", "subtype": "success", "is_error": True, "result": "You've hit your session limit"},
    )
    assert state.failure is not None
    assert state.failure.kind == "rate_limited"
    assert state.failure.retry_after_s == pytest.approx(3600, abs=60)


async def test_a_limit_that_is_near_is_none() -> None:
    near = {"type": "rate_limit_event", "rate_limit_info": {"status": "allowed_warning", "resetsAt": 1}}
    state, _ = read(near, {"type": "result", "subtype": "success", "result": "done"})
    assert state.failure is None


async def test_tools_of_the_town_that_did_not_start_are_told() -> None:
    servers = [{"name": "town", "status": "failed"}, {"name": "other", "status": "failed"}]
    _, recorder = read({"type": "system", "subtype": "init", "session_id": "s", "mcp_servers": servers})
    assert recorder.lines == ["warning: the town's tools are unavailable: MCP server is failed"]


@pytest.mark.parametrize(
    "record",
    [
        "[]",
        "{",
        "plain words",
        '{"type": []}',
        '{"type": "assistant", "message": 3}',
        '{"type": "assistant", "message": {"content": [1, {"type": "text"}], "usage": "x"}}',
        '{"type": "user", "message": {"content": "text"}}',
        '{"type": "system", "subtype": "init", "mcp_servers": {}}',
        '{"type": "stream_event"}',
        '{"type": "result", "usage": [], "result": 5, "permission_denials": [{}]}',
        "[" * 10_000,
    ],
)
async def test_a_record_of_another_shape_costs_itself_alone(record: str) -> None:
    state, _ = read(record, {"type": "result", "subtype": "success", "result": "done"})
    assert (state.text, state.failure) == ("done", None)


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
