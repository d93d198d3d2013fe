"""Gemini CLI, Copilot CLI, aider, Cursor's CLI and opencode as agents, played from recordings.

Those of Cursor's CLI were written by its documentation, all others were recorded from the real ones.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tinytown_clis
import trio
from tinytown.config import convert_settings
from tinytown.contracts import AgentBackend, Finished, Outcome, RateLimited, Unauthorized
from tinytown_testing import Sandbox, check_agent_backend
from tinytown_testing.recordings import fake_scenarios, play_recording

RECORDINGS = Path(__file__).parent / "recordings"
DEADLINE_S = 150.0
COMMANDS = {
    "gemini": "gemini",
    "copilot": "copilot",
    "aider": "aider",
    "cursor": "cursor-agent",
    "opencode": "opencode",
}
by_kind = pytest.mark.parametrize("kind", COMMANDS)
#: Those that were recorded trying again longer than anybody wants to wait: our own clock ends them.
PATIENCE_S = 0.3


@pytest.fixture(autouse=True)
def fakes(fake_cli: Callable[[str, Path], Path]) -> None:
    for kind, command in COMMANDS.items():
        fake_cli(command, RECORDINGS / kind)


def backend(kind: str, **settings: Any) -> AgentBackend:
    chosen = {"patience_s": PATIENCE_S, **settings}
    made = convert_settings(tinytown_clis.tinytown_settings_type(), {kind: chosen}, Path("t.toml"), "plugins.clis")
    return next(each for each in tinytown_clis.tinytown_agent_backends(made, Path()) if each.kind == kind)


@by_kind
async def test_a_kind_keeps_the_promises_of_a_backend(kind: str) -> None:
    with trio.fail_after(DEADLINE_S):
        report = await check_agent_backend(lambda: backend(kind), scenarios=fake_scenarios())
    report.raise_if_broken()
    assert report.not_applicable == ()


@by_kind
@pytest.mark.parametrize("name", ["answer", "tool", "mcp", "resume"])
async def test_a_run_that_went_well_ends_with_its_answer_and_its_session(
    sandbox: Sandbox, kind: str, name: str
) -> None:
    if not (RECORDINGS / kind / f"{name}.jsonl").exists():
        pytest.skip(f"{kind} has no such run")
    outcome, lines = await play_recording(sandbox, backend(kind), name)
    assert isinstance(outcome, Finished)
    assert outcome.session_id
    if (kind, name) != ("aider", "tool"):
        assert outcome.text == "word"
        assert lines[-1] == "word"
    if name in ("tool", "mcp"):
        assert any(line != "word" for line in lines)
    if kind != "copilot":  # it tells nobody
        assert outcome.usage is not None
        assert outcome.usage.input_tokens > 100
        assert outcome.usage.output_tokens > 0


@by_kind
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("unauthorized", Unauthorized),
        ("no_login", Unauthorized),
        ("rate_limit", RateLimited),
        ("rate_limit_reset", RateLimited),
        ("server_error", RateLimited),
        ("overload", RateLimited),
        ("cut", RateLimited),
    ],
)
async def test_what_went_wrong_is_told_apart(sandbox: Sandbox, kind: str, name: str, expected: type[Outcome]) -> None:
    if not (RECORDINGS / kind / f"{name}.jsonl").exists():
        pytest.skip(f"{kind} has no such run")
    outcome, _ = await play_recording(sandbox, backend(kind), name)
    assert isinstance(outcome, expected)
