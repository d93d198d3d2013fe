"""How a CLI is configured to start the town's own tools, and that the configuration works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tinytown_adapters.town_tools import prepare_town_tools

ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "TINYTOWN_TOWN": "/town",
    "TINYTOWN_AGENT_NAME": "ada",
    "TINYTOWN_TASK_TOKEN": "the-token",
    "TINYTOWN_REDIS_PASSWORD": "hunter2",
    "REDIS_URL": "redis://:hunter2@db",
    "ANTHROPIC_API_KEY": "a-key",
    "GITHUB_TOKEN": "another",
}


def test_what_is_secret_stands_in_a_file_of_the_owners_and_in_no_argument(tmp_path: Path) -> None:
    tools = prepare_town_tools(tmp_path, ENVIRONMENT)
    assert tools is not None
    assert "hunter2" not in str(tools)
    assert "the-token" not in str(tools)
    file = Path(tools.arguments[-1])
    assert file.stat().st_mode & 0o777 == 0o600
    held = json.loads(file.read_bytes())
    assert held == {
        name: value for name, value in ENVIRONMENT.items() if name not in ("ANTHROPIC_API_KEY", "GITHUB_TOKEN")
    }


def test_it_starts_with_nothing_in_its_environment_and_with_anything_in_its_directory(tmp_path: Path) -> None:
    tools = prepare_town_tools(tmp_path, {**ENVIRONMENT, "TINYTOWN_TOWN": str(tmp_path)})
    assert tools is not None
    (tmp_path / "tinytown.toml").write_text('name = "town"\n')
    (tmp_path / "json.py").write_text("raise SystemExit('this is no module')\n")
    client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    request = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": client}
    done = subprocess.run(
        [tools.command, *tools.arguments],
        input=json.dumps(request).encode() + b"\n",
        cwd=tmp_path,
        env={},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[0])["result"]["serverInfo"]["name"]


def test_to_start_them_no_event_loop_is_loaded() -> None:
    program = (
        "import sys, tinytown_adapters.town_tools; print([each for each in ('trio', 'redis') if each in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
