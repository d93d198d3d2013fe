"""Claude Code as an agent, played from recordings of the real one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import tinytown_claude
import trio
from tinytown.config import convert_settings
from tinytown.contracts import AgentBackend, Failed, Finished, Outcome, RateLimited, Unauthorized, Unavailable, Usage
from tinytown.errors import HostFailure
from tinytown.kernel import log_path
from tinytown.process import Exit
from tinytown_adapters import CliSessionRecord, RunRequest, SessionNotForked, SessionSource, TownTools
from tinytown_adapters.environment import inherited
from tinytown_claude import permissions
from tinytown_claude.adapter import DENIED_TOOLS, ClaudeAdapter, Settings
from tinytown_testing import ReportRecorder, Sandbox, check_agent_backend
from tinytown_testing.recordings import fake_scenarios, play_recording

RECORDINGS = Path(__file__).parent / "recordings"
INPUTS = Path(__file__).parent / "inputs"
DEADLINE_S = 120.0
SESSION = "00000000-0000-4000-8000-000000000001"


@pytest.fixture(autouse=True)
def fake(fake_cli: Callable[[str, Path], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cli("claude", RECORDINGS)
    monkeypatch.setenv("IS_SANDBOX", "1")


def backend(**settings: Any) -> AgentBackend:
    kind = tinytown_claude.tinytown_settings_type()
    made = convert_settings(kind, settings, Path("tinytown.toml"), "plugins.claude")
    return tinytown_claude.tinytown_agent_backends(made, Path())[0]


def request(work_dir: Path, **changes: Any) -> RunRequest[Settings]:
    given: dict[str, Any] = {
        "settings": Settings(),
        "permissions": "full",
        "prompt": "do it",
        "environment": {"IS_SANDBOX": "1"},
        **changes,
    }
    return RunRequest(directory=work_dir, work_dir=work_dir, **given)


async def test_claude_keeps_the_promises_of_a_backend() -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_agent_backend(backend, scenarios=fake_scenarios())
    report.raise_if_broken()
    assert report.not_applicable == ()


@pytest.mark.parametrize("trap", ["link", "pipe"])
async def test_a_trap_in_the_place_of_the_log_is_not_written_to(sandbox: Sandbox, tmp_path: Path, trap: str) -> None:
    log, victim = log_path(sandbox.root, sandbox.agent(cli="claude").name), tmp_path / "victim"
    log.parent.mkdir(parents=True, exist_ok=True)
    victim.write_text("precious")
    log.symlink_to(victim) if trap == "link" else os.mkfifo(log)
    with trio.fail_after(30), pytest.raises(HostFailure) as caught:
        await play_recording(sandbox, backend(), "answer")
    assert caught.value.code == "log_not_writable"
    assert victim.read_text() == "precious"


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("answer", []),
        ("resume", []),
        ("tool", ["Bash: echo hi > f.txt && git add f.txt && git commit -qm f"]),
        ("failed_tool", ["Bash: echo no good >&2; exit 3", "failed: Exit code 3 no good"]),
        ("mcp", ["mcp__town__status"]),
    ],
)
async def test_a_run_that_went_well_ends_with_its_answer_and_its_session(
    sandbox: Sandbox, name: str, lines: list[str]
) -> None:
    outcome, reported = await play_recording(sandbox, backend(), name)
    assert isinstance(outcome, Finished)
    assert (outcome.text, outcome.session_id) == ("word", SESSION)
    assert isinstance(outcome.usage, Usage)
    assert outcome.usage.input_tokens > 1000
    assert outcome.usage.cost_usd is not None
    assert reported == [*lines, "word"]


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("unauthorized", Unauthorized, "401"),
        ("no_login", Unauthorized, "Not logged in"),
        ("rate_limit", RateLimited, "429"),
        ("server_error", RateLimited, "500"),
        ("overload", RateLimited, "529"),
        ("model_unknown", Unavailable, "selected model"),
        ("too_long", Failed, "too long"),
        ("no_session", Failed, "No conversation found"),
        ("cut", RateLimited, "connect"),
    ],
)
async def test_what_went_wrong_is_told_apart(sandbox: Sandbox, name: str, kind: type[Outcome], reason: str) -> None:
    outcome, _ = await play_recording(sandbox, backend(), name)
    assert isinstance(outcome, kind)
    assert reason.lower() in getattr(outcome, "reason", "").lower()


async def test_when_a_limit_is_over_is_handed_on(sandbox: Sandbox) -> None:
    outcome, _ = await play_recording(sandbox, backend(), "rate_limit_reset")
    assert isinstance(outcome, RateLimited)
    assert outcome.retry_after_s == 90.0


def test_what_is_set_is_what_it_is_called_with(tmp_path: Path) -> None:
    settings = Settings(model="opus", max_turns=3, max_budget_usd=0.5, extra_args=("--effort", "low"))
    session = CliSessionRecord(id="s1", agent_id="a1", directory="/")
    tools = TownTools("python3", ("-m", "tools"))
    spec = ClaudeAdapter().command_spec(
        request(tmp_path, settings=settings, session=session, tools=tools, has_own_state=True)
    )
    words = " ".join(spec.arguments)
    for wanted in (
        "-p --input-format stream-json --output-format stream-json --verbose --replay-user-messages",
        "--dangerously-skip-permissions",
        "--resume s1",
        "--model opus",
        "--max-turns 3",
        "--max-budget-usd 0.5",
        f"--mcp-config {tmp_path}/town-mcp.json --strict-mcp-config",
    ):
        assert wanted in words
    assert spec.arguments[-2:] == ["--effort", "low"]
    assert spec.stdin == b'{"type":"user","message":{"role":"user","content":"do it"}}\n'
    assert spec.files == {"town-mcp.json": tools.as_mcp_servers(alwaysLoad=True)}
    assert spec.environment["CLAUDE_CONFIG_DIR"] == str(tmp_path / "state")


def test_nothing_is_said_that_was_not_asked_for(tmp_path: Path) -> None:
    spec = ClaudeAdapter().command_spec(request(tmp_path))
    denied = ["--disallowedTools", ",".join(DENIED_TOOLS)]
    assert spec.arguments == [
        "-p",
        "--input-format",
        "stream-json",
        "--output-format",
        "stream-json",
        "--verbose",
        "--replay-user-messages",
        "--dangerously-skip-permissions",
        *denied,
    ]
    assert "CLAUDE_CONFIG_DIR" not in spec.environment


def test_the_schema_of_a_result_is_an_option_of_its_own(tmp_path: Path) -> None:
    arguments = ClaudeAdapter().command_spec(request(tmp_path, result_schema={"type": "object"})).arguments
    assert arguments[arguments.index("--json-schema") + 1] == '{"type":"object"}'


def with_sandbox(monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:
    monkeypatch.setattr(permissions, "sandbox_problem", lambda: "" if answer else "no socat on PATH")
    monkeypatch.setattr("tinytown_claude.adapter.has_sandbox", lambda: answer)


def test_reading_is_all_that_the_profile_read_leaves(tmp_path: Path) -> None:
    spec = ClaudeAdapter().command_spec(request(tmp_path, permissions="read"))
    tools = spec.arguments[spec.arguments.index("--tools") + 1].split(",")
    assert not {"Bash", "Edit", "Write", "NotebookEdit"} & set(tools)
    assert "Read" in tools


def test_writing_is_held_to_the_workspace_by_the_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_sandbox(monkeypatch, True)
    assert ClaudeAdapter().permissions_by_default() == "write"
    spec = ClaudeAdapter().command_spec(request(tmp_path, permissions="write"))
    assert b'"failIfUnavailable":true' in spec.files[permissions.SETTINGS_FILE]
    assert "Bash" in spec.arguments[spec.arguments.index("--allowedTools") + 1]


def test_without_a_sandbox_writing_means_few_commands_and_is_no_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_sandbox(monkeypatch, False)
    assert ClaudeAdapter().permissions_by_default() == "full"
    spec = ClaudeAdapter().command_spec(
        request(tmp_path, permissions="write", settings=Settings(allow=("Bash(git *)",)))
    )
    allowed = spec.arguments[spec.arguments.index("--allowedTools") + 1].split(",")
    assert "Bash" not in allowed
    assert "Bash(git *)" in allowed
    assert any("bubblewrap" in each for each in ClaudeAdapter().warnings(Settings(), "write", []))


@pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap is Linux's")
@pytest.mark.parametrize(
    ("programs", "problem"),
    [
        ({"bwrap": "exit 0"}, "no socat on PATH"),
        ({}, "no bwrap and no socat on PATH"),
        ({"socat": "", "bwrap": "echo 'bwrap: No permissions to create new namespace' >&2; exit 1"}, "No permissions"),
        ({"socat": "", "bwrap": "exit 3"}, "cannot make a box: exit status 3"),
        ({"socat": "", "bwrap": "exit 0"}, ""),
    ],
)
def test_a_sandbox_is_there_if_a_box_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: Mapping[str, str], problem: str
) -> None:
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert problem in permissions.sandbox_problem()
    assert permissions.has_sandbox() is (problem == "")
    assert ClaudeAdapter().has_own_sandbox() is (problem == "")
    reported = [*ClaudeAdapter().warnings(Settings(), "write", [])]
    assert not reported if problem == "" else problem in reported[0]


def test_root_is_told_what_it_does_and_may_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    spec = ClaudeAdapter().command_spec(request(tmp_path, environment={}))
    assert "--dangerously-skip-permissions" not in spec.arguments
    assert "Bash" in spec.arguments[spec.arguments.index("--allowedTools") + 1].split(",")
    assert any("root" in each for each in ClaudeAdapter().warnings(Settings(), "full", []))
    assert ClaudeAdapter().warnings(Settings(), "full", ["IS_SANDBOX"]) == []


def test_below_full_nothing_that_the_project_configures_runs_and_its_notes_are_text(tmp_path: Path) -> None:
    (tmp_path / "CLAUDE.md").write_text("use tabs")
    spec = ClaudeAdapter().command_spec(request(tmp_path, permissions="write", trusts_project=False))
    words = " ".join(spec.arguments)
    assert "--setting-sources user" in words
    assert "--strict-mcp-config" in words
    assert spec.files["CLAUDE.md"] == b"use tabs"
    trusted = ClaudeAdapter().command_spec(request(tmp_path, permissions="write"))
    assert "--setting-sources" not in trusted.arguments
    assert "CLAUDE.md" not in trusted.files


def test_notes_that_lead_elsewhere_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of somebody else")
    (tmp_path / "CLAUDE.md").symlink_to(tmp_path / "secret")
    spec = ClaudeAdapter().command_spec(request(tmp_path, permissions="read", trusts_project=False))
    assert "CLAUDE.md" not in spec.files


@pytest.mark.parametrize(
    "name", ["CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT", "CLAUDE_CODE_SESSION_ID", "CLAUDE_CODE_SSE_PORT"]
)
def test_agents_of_a_kernel_that_a_session_has_started_are_no_part_of_that_session(name: str) -> None:
    environment = {
        name: "1",
        "CLAUDE_CODE_USE_BEDROCK": "1",
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "9",
        "ANTHROPIC_MODEL": "m",
    }
    adapter = ClaudeAdapter()
    passed_on = inherited(environment, adapter.own_variables, adapter.session_variables)
    assert passed_on == {key: value for key, value in environment.items() if key != name}


async def test_a_result_is_kept_when_the_cli_lingers_after_it_and_no_process_is_left(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinytown_adapters.run_clock.LINGER_S", 0.3)
    agent = sandbox.agent(cli="claude")
    lingering = [sys.executable, str(INPUTS / "lingers.py")]
    async with backend(command=lingering).open(sandbox.context(agent)) as session:
        outcome = await session.run_round(sandbox.round(agent, "make it"), ReportRecorder())
    assert isinstance(outcome, Finished)
    assert (outcome.text, outcome.session_id) == ("made it", "s-1")
    assert sandbox.processes.running == 0


async def taken(source_dir: Path, work_dir: Path, home: Path) -> Any:
    async def run(*arguments: str, environment: Mapping[str, str | None], stdout: Path | None = None) -> Exit:
        raise AssertionError("nothing is to be run")

    source = SessionSource("ada", SESSION, source_dir / "ada" / "claude")
    return await ClaudeAdapter().take_session(source, request(work_dir, environment={"HOME": str(home)}), run)


@pytest.mark.parametrize("place", ["ada/claude/state", "home/.claude"])
async def test_a_session_is_forked_from_a_copy_of_its_file_without_its_totals(tmp_path: Path, place: str) -> None:
    transcript = tmp_path / place / "projects" / "-another-directory" / f"{SESSION}.jsonl"
    transcript.parent.mkdir(parents=True)
    transcript.write_bytes(
        b'{"type":"user"}\n{"type":"cost-state","totalCostUSD":9}\n{"type":"assistant"}\n{"type":"us'
    )
    found = await taken(tmp_path, tmp_path / "work", tmp_path / "home")
    assert found.files == {"tmp/fork.jsonl": b'{"type":"user"}\n{"type":"assistant"}\n'}
    assert not found.is_copy
    spec = ClaudeAdapter().command_spec(request(tmp_path / "work", session=found.session, forks=True))
    copy = str(tmp_path / "work" / "tmp" / "fork.jsonl")
    assert spec.arguments[spec.arguments.index("--resume") :][:3] == ["--resume", copy, "--fork-session"]


async def test_a_session_that_is_nowhere_is_not_forked(tmp_path: Path) -> None:
    with pytest.raises(SessionNotForked, match="is not on this machine"):
        await taken(tmp_path, tmp_path / "work", tmp_path / "home")
