"""A scripted agent of the Agent Client Protocol under any name, and the situations of a backend that starts it.

What the agent can do is described in ``fake_acp_agent.py``, a script that is never imported.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from tinytown_testing.sandbox import Sandbox, put_on_path
from tinytown_testing.scenarios import BackendScenarios, Scenario

AGENT = Path(__file__).with_name("fake_acp_agent.py")


def install_fake_agent(sandbox: Sandbox, name: str) -> Path:
    """Put a command `name` that is a scripted agent first on the PATH of this process, for as long as the sandbox lasts."""
    directory = sandbox.base / "bin"
    directory.mkdir(exist_ok=True)
    path = directory / name
    words = [sys.executable, "-S", "-I", str(AGENT), f".{name}"]  # its sessions are in the round's directory
    path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    path.chmod(0o755)
    put_on_path(directory)
    return path


def steps(*wanted: dict[str, Any]) -> str:
    """A prompt that makes a scripted agent do this."""
    return f"<fake>{json.dumps(wanted)}</fake>"


def acp_scenarios() -> BackendScenarios:
    """The situations of a backend whose agent is a scripted one, for `check_agent_backend`."""
    work = Scenario(task=steps({"tool": "sleep 600"}, {"sleep": 600}))
    return BackendScenarios(
        answer=lambda word: Scenario(task=word),
        work=work,
        stubborn=Scenario(task=steps({"stubborn": "ready"}), marker="ready"),
        killed=Scenario(task=steps({"die": "last words"}), marker="last words"),
        missing_tool=Scenario(environment={"PATH": "/nonexistent"}),
        output=lambda path: Scenario(environment={"FAKE_PRINT": str(path)}),
        late_output=Scenario(task=steps({"late": "too late"}), marker="too late"),
        rate_limit=Scenario(task=steps({"error": "429: rate limit reached, please try again in 90s"})),
        login_error=Scenario(environment={"FAKE_LOGIN": "no"}),
        silent=work,
        failing=Scenario(task=steps({"exit": 1})),
    )
