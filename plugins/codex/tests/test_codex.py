"""Codex as an agent, played from recordings of the real one."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tinytown_codex
import trio
from tinytown.config import convert_settings
from tinytown.contracts import AgentBackend, Failed, Finished, Outcome, RateLimited, Unauthorized, Unavailable, Usage
from tinytown_adapters import CliSessionRecord, RunRequest, TownTools
from tinytown_codex.adapter import CodexAdapter, Settings
from tinytown_codex.schemas import may_hold_to
from tinytown_testing import Sandbox, check_agent_backend
from tinytown_testing.recordings import fake_scenarios, play_recording

RECORDINGS = Path(__file__).parent / "recordings"
DEADLINE_S = 120.0
SESSION = "00000000-0000-4000-8000-000000000001"
NO_METADATA = (
    "warning: Model metadata for `gpt-5` not found. Defaulting to fallback metadata; this can degrade performance and"
    " cause issues."
)


@pytest.fixture(autouse=True)
def fake(fake_cli: Callable[[str, Path], Path]) -> None:
    fake_cli("codex", RECORDINGS)


def backends(**settings: Any) -> dict[str, AgentBackend]:
    kind = tinytown_codex.tinytown_settings_type()
    made = convert_settings(kind, {"app_server": False, **settings}, Path("tinytown.toml"), "plugins.codex")
    return {each.kind: each for each in tinytown_codex.tinytown_agent_backends(made, Path())}


def backend() -> AgentBackend:
    return backends()["codex"]


def request(work_dir: Path, **changes: Any) -> RunRequest[Settings]:
    given: dict[str, Any] = {
        "settings": Settings(app_server=False),
        "permissions": "write",
        "prompt": "do it",
        **changes,
    }
    return RunRequest(directory=work_dir, work_dir=work_dir, **given)


async def test_codex_keeps_the_promises_of_a_backend() -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_agent_backend(backend, scenarios=fake_scenarios())
    report.raise_if_broken()
    assert report.not_applicable == ()


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("answer", []),
        ("resume", []),
        ("tool", ["shell: /bin/bash -lc 'echo hi > f.txt && git add f.txt && git commit -qm f'"]),
        ("failed_tool", ["shell: /bin/bash -lc 'echo no good >&2; exit 3'", "failed: no good"]),
        ("mcp", ["town.status"]),
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
    assert reported == [NO_METADATA, *lines, "word"]


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("unauthorized", Unauthorized, "401"),
        ("no_login", Unauthorized, "Missing environment variable"),
        ("rate_limit", RateLimited, "429"),
        ("rate_limit_reset", RateLimited, "429"),
        ("server_error", RateLimited, "high demand"),  # what Codex says of any error of its server
        ("overload", RateLimited, "529"),
        ("model_unknown", Unavailable, "does not exist"),
        ("too_long", Failed, "too long"),
        ("no_session", Failed, "no rollout found"),
        ("cut", RateLimited, "no answer"),
    ],
)
async def test_what_went_wrong_is_told_apart(sandbox: Sandbox, name: str, kind: type[Outcome], reason: str) -> None:
    outcome, _ = await play_recording(sandbox, backend(), name)
    assert isinstance(outcome, kind)
    assert reason.lower() in getattr(outcome, "reason", "").lower()


async def test_rounds_of_one_session_do_not_count_twice(sandbox: Sandbox) -> None:
    agent = sandbox.agent(cli="codex")
    first, _ = await play_recording(sandbox, backend(), "answer", agent=agent)
    again, _ = await play_recording(
        sandbox, backend(), "answer", agent=agent
    )  # says the same sum for the whole session
    assert isinstance(first, Finished)
    assert isinstance(again, Finished)
    assert first.usage != Usage()
    assert again.usage == Usage()


def test_what_is_set_is_what_it_is_called_with(tmp_path: Path) -> None:
    settings = Settings(app_server=False, model="gpt-5.4", extra_args=("-c", "x=1"))
    session = CliSessionRecord(id="s1", agent_id="a1", directory="/")
    spec = CodexAdapter().command_spec(request(tmp_path, settings=settings, session=session, has_own_state=True))
    assert spec.arguments[:3] == ["exec", "--json", "--skip-git-repo-check"]
    # Options come before `resume`: behind it Codex knows few of them.
    assert spec.arguments[-7:] == ["-m", "gpt-5.4", "-c", "x=1", "resume", "s1", "-"]
    assert spec.stdin == b"do it"
    assert spec.environment == {"CODEX_HOME": str(tmp_path / "state"), "TMPDIR": str(tmp_path / "tmp")}


def test_the_towns_tools_are_settings_that_codex_can_read(tmp_path: Path) -> None:
    tools = TownTools("/a path/python", ("-m", 'qu"ote\\ é 🏘'))
    spec = CodexAdapter().command_spec(request(tmp_path, tools=tools))
    words = [spec.arguments[n + 1] for n, word in enumerate(spec.arguments) if word == "-c"]
    settings = tomllib.loads("\n".join(words))
    assert settings["mcp_servers"]["town"] == {
        "command": "/a path/python",
        "args": ["-m", 'qu"ote\\ é 🏘'],
        "required": True,
        "default_tools_approval_mode": "approve",
    }


def test_writing_reaches_the_workspace_its_repository_and_the_network(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").touch()
    words = " ".join(CodexAdapter().command_spec(request(tmp_path)).arguments)
    assert "--sandbox workspace-write" in words
    assert f'sandbox_workspace_write.writable_roots=["{tmp_path}/.git"]' in words
    assert "sandbox_workspace_write.network_access=true" in words
    assert "sandbox_workspace_write.exclude_slash_tmp=true" in words
    assert "--sandbox read-only" in " ".join(
        CodexAdapter().command_spec(request(tmp_path, permissions="read")).arguments
    )
    assert "bypass" in " ".join(CodexAdapter().command_spec(request(tmp_path, permissions="full")).arguments)


def test_the_app_server_gets_the_same_settings(tmp_path: Path) -> None:
    settings = Settings(extra_args=("-c", "x=1"))
    spec = CodexAdapter().command_spec(request(tmp_path, settings=settings, has_own_state=True))
    assert spec.arguments[0] == "app-server"
    assert spec.arguments[-2:] == ["-c", "x=1"]
    assert "sandbox_workspace_write.network_access=true" in spec.arguments
    assert (spec.stdin, spec.environment["CODEX_HOME"]) == (None, str(tmp_path / "state"))


CLOSED: dict[str, Any] = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]} | {
    "additionalProperties": False
}


def test_a_schema_that_the_service_takes_is_a_file_of_its_own(tmp_path: Path) -> None:
    settings = Settings(app_server=False)
    spec = CodexAdapter().command_spec(request(tmp_path, settings=settings, result_schema=CLOSED))
    assert "--output-schema" in spec.arguments
    assert msgspec.json.decode(spec.files["result-schema.json"]) == CLOSED
    open_one = CodexAdapter().command_spec(request(tmp_path, settings=settings, result_schema={"type": "object"}))
    assert ("--output-schema" in open_one.arguments, open_one.files) == (False, {})


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (None, False),
        (CLOSED, True),
        ({**CLOSED, "additionalProperties": True}, False),
        ({**CLOSED, "required": []}, False),
        ({**CLOSED, "not": {}}, False),
        ({"type": "array", "items": CLOSED}, False),
        ({**CLOSED, "properties": {"n": {"type": "array", "items": CLOSED}}}, True),
        ({**CLOSED, "properties": {"n": {"type": "array", "items": {"type": "object"}}}}, False),
        ({**CLOSED, "properties": {"n": {"anyOf": [CLOSED, {"type": "null"}]}}}, True),
        ({**CLOSED, "properties": {"n": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"oneOf": []}}}, False),
        ({**CLOSED, "required": 5}, False),
    ],
)
def test_only_a_schema_that_the_service_takes_is_given_to_it(schema: Any, expected: bool) -> None:
    assert may_hold_to(schema) is expected


def test_there_is_a_smaller_one() -> None:
    made = backends(presets={"codex-high": {"extra_args": ["-c", "model_reasoning_effort=high"]}})
    assert list(made) == ["codex", "codex-mini", "codex-high"]
    mini = made["codex-mini"]
    assert (mini.account, mini.settings.model) == ("codex", "gpt-5.4-mini")  # type: ignore[attr-defined]
