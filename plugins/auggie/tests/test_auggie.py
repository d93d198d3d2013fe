"""Auggie as an agent, played from recordings of the real one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tinytown_auggie
import trio
from tinytown.config import convert_settings
from tinytown.contracts import AgentBackend, Failed, Finished, Outcome, RateLimited, Unauthorized, Unavailable
from tinytown.process import Exit, Line
from tinytown_adapters import CliSessionRecord, RunRequest, RunState, TownTools
from tinytown_auggie.adapter import AuggieAdapter, Settings
from tinytown_auggie.reader import AuggieReader
from tinytown_testing import ReportRecorder, Sandbox, check_agent_backend
from tinytown_testing.recordings import fake_scenarios, play_recording

RECORDINGS = Path(__file__).parent / "recordings"
DEADLINE_S = 90.0
SESSION = "00000000-0000-4000-8000-000000000001"


@pytest.fixture(autouse=True)
def fake(fake_cli: Callable[[str, Path], Path]) -> None:
    fake_cli("auggie", RECORDINGS)


def backend(**settings: Any) -> AgentBackend:
    kind = tinytown_auggie.tinytown_settings_type()
    made = convert_settings(kind, settings, Path("tinytown.toml"), "plugins.auggie")
    return tinytown_auggie.tinytown_agent_backends(made, Path())[0]


def request(work_dir: Path, **changes: Any) -> RunRequest[Settings]:
    given: dict[str, Any] = {"settings": Settings(), "permissions": "full", "prompt": "do it", **changes}
    return RunRequest(directory=work_dir, work_dir=work_dir, **given)


async def test_auggie_keeps_the_promises_of_a_backend() -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_agent_backend(backend, scenarios=fake_scenarios())
    report.raise_if_broken()
    assert report.not_applicable == ()


@pytest.mark.parametrize("name", ["answer", "tool", "failed_tool", "mcp", "resume"])
async def test_a_run_that_went_well_ends_with_its_answer_and_its_session(sandbox: Sandbox, name: str) -> None:
    outcome, lines = await play_recording(sandbox, backend(), name)
    assert outcome == Finished(text="word", session_id=SESSION)
    assert lines == ["word"]


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("unauthorized", Unauthorized, "401"),
        ("no_login", Unauthorized, "No auth provided"),
        ("rate_limit", RateLimited, "Rate limited"),
        ("rate_limit_reset", RateLimited, "Rate limited"),
        ("server_error", RateLimited, "500"),
        ("overload", RateLimited, "529"),
        ("model_unknown", Unavailable, "404"),
        ("too_long", Failed, "400"),
        ("cut", RateLimited, "other side closed"),
        ("no_session", Failed, "No session found"),
    ],
)
async def test_what_went_wrong_is_told_apart(sandbox: Sandbox, name: str, kind: type[Outcome], reason: str) -> None:
    outcome, _ = await play_recording(sandbox, backend(), name)
    assert isinstance(outcome, kind)
    assert reason in getattr(outcome, "reason", "")


async def test_tools_of_the_town_that_did_not_start_are_told() -> None:
    recorder = ReportRecorder()
    reader = AuggieReader(RunState(recorder), "town")
    for text in ("🔌 Waiting for 2 MCP server(s)", "   ✅ other", "❌ other (failed)", "   ❌ town (failed)", "more"):
        reader.read(Line("stdout", text, cut=False))
    assert recorder.lines == ["warning: the town's tools are unavailable: MCP server failed", "more"]


WARNING = "Warning: Could not fetch tenant MCP server configurations: fetch failed (ECONNREFUSED: connect ECONNREFUSED)"


@pytest.mark.parametrize(
    ("stderr", "asked", "failure"),
    [
        (WARNING, "", "unreachable"),
        (WARNING, "do it", None),
        (WARNING, "do\r\n  it", None),
        (WARNING, None, "unreachable"),
        ("Warning: Could not fetch tenant MCP server configurations: HTTP error: 403", "do it", None),
        ("", "do it", None),
        ("", "", "unreachable"),
        ("", None, None),
    ],
)
async def test_an_answer_to_a_prompt_that_was_never_asked_is_none(
    tmp_path: Path, stderr: str, asked: str | None, failure: str | None
) -> None:
    if asked is not None:
        sessions = tmp_path / "state" / "sessions"
        sessions.mkdir(parents=True)
        turns = [{"exchange": {"request_message": text, "response_text": "noted"}} for text in ("before", asked)]
        (sessions / "s1.json").write_text(json.dumps({"sessionId": "s1", "chatHistory": turns}))
    state = RunState(ReportRecorder())
    reader = AuggieAdapter().reader(state, request(tmp_path, has_own_state=True))
    reader.read(Line("stderr", stderr, cut=False))
    record = {"type": "result", "subtype": "success", "result": "noted", "session_id": "s1", "num_turns": 0}
    reader.read(Line("stdout", json.dumps(record), cut=False))
    assert state.failure is None  # its file of the session comes later
    reader.end(Exit(1, 0, None, "exited", "", stderr, 0.1))
    assert (state.failure.kind if state.failure else None) == failure
    assert state.session_id == "s1"


def test_what_is_set_is_what_it_is_called_with(tmp_path: Path) -> None:
    settings = Settings(model="m", max_turns=3, patience_s=7, rules=("R.md",), extra_args=("--quiet",))
    session = CliSessionRecord(id="s1", agent_id="a1", directory="/")
    tools = TownTools("python3", ("-m", "tools"))
    spec = AuggieAdapter().command_spec(
        request(tmp_path, settings=settings, session=session, tools=tools, permissions="read", has_own_state=True)
    )
    words = " ".join(spec.arguments)
    for wanted in (
        f"--instruction-file {tmp_path}/prompt.md",
        "--permission launch-process:deny",
        "--permission save-file:deny",
        "--retry-timeout 7",
        "--model m",
        "--max-turns 3",
        "--rules R.md",
        "--resume s1",
        f"--mcp-config {tmp_path}/town-mcp.json",
        f"--augment-cache-dir {tmp_path}/state",
    ):
        assert wanted in words
    assert spec.arguments[-1] == "--quiet"
    assert spec.files["prompt.md"] == b"do it"
    assert b'"python3"' in spec.files["town-mcp.json"]


def test_nothing_is_said_that_was_not_asked_for(tmp_path: Path) -> None:
    spec = AuggieAdapter().command_spec(request(tmp_path, settings=Settings(patience_s=0)))
    assert spec.arguments == ["--print", "--output-format", "json", "--instruction-file", f"{tmp_path}/prompt.md"]
