"""A CLI of a stranger's is recorded as its plugin calls it, and the fake one that plays the recordings does the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tinytown_testing import Shell
from tinytown_testing.installed import install_plugin

DEADLINE_S = 170.0

#: A coding CLI: it asks a model at QUILL_URL, runs the commands that this wants, and prints JSON lines.
CLI = """
import json, os, subprocess, sys, urllib.error, urllib.request
def say(**record):
    print(json.dumps(record), flush=True)
if "--version" in sys.argv:
    sys.exit(print("quill 7"))
schema = {"type": "object", "properties": {"command": {"type": "string"}}}
tool = {"name": "Bash", "description": "", "input_schema": schema}
messages = [{"role": "user", "content": sys.stdin.read()}]
print("asking with", os.environ["QUILL_KEY"], file=sys.stderr)
while True:
    body = json.dumps({"model": "m", "max_tokens": 100, "messages": messages, "tools": [tool]}).encode()
    request = urllib.request.Request(os.environ["QUILL_URL"] + "/v1/messages", body, {"content-type": "application/json"})
    try:
        answer = json.load(urllib.request.urlopen(request, timeout=20))
    except urllib.error.HTTPError as error:
        say(error=f"{error.code} {error.reason}")
        sys.exit(1)
    except OSError as error:
        say(error=f"connection lost: {error}")
        sys.exit(1)
    messages.append({"role": "assistant", "content": answer["content"]})
    results = []
    for part in answer["content"]:
        if part["type"] == "text":
            say(text=part["text"])
        else:
            ran = subprocess.run(["sh", "-c", part["input"]["command"]], capture_output=True, text=True)
            results.append({"type": "tool_result", "tool_use_id": part["id"], "content": ran.stdout or "nothing"})
    if not results:
        say(end=True)
        break
    messages.append({"role": "user", "content": results})
"""
PLUGIN = """
import json
from contextlib import asynccontextmanager
from tinytown.contracts import AgentBackend, AgentSession, Failed, Finished, RateLimited, Unauthorized
from tinytown.hookspecs import hookimpl
TINYTOWN_HOOK_API = 2

@hookimpl
def tinytown_agent_backends():
    return [Quill()]

class Quill(AgentBackend):
    kind = "quill"
    @asynccontextmanager
    async def open(self, context):
        yield Session(context)

class Session(AgentSession):
    def __init__(self, context):
        self.processes = context.processes
    async def run_round(self, work, report):
        texts, errors = [], []
        def on_line(line):
            if line.stream == "stdout":
                record = json.loads(line.text)
                texts.append(record.get("text", ""))
                errors.append(record.get("error", ""))
        await self.processes.run(
            ["quill", "--json"], stdin=work.prompt.encode(), cwd=work.directory, env=work.environment, on_line=on_line,
            grace_s=work.grace_s,
        )
        error = "".join(errors)
        if error:
            kinds = {"401": Unauthorized(reason=error, hint="log in"), "429": RateLimited(reason=error)}
            return kinds.get(error[:3], Failed(reason=error))
        return Finished(text="".join(texts))
"""
PLAY = """
import sys, trio
from pathlib import Path
from tinytown_quill import Quill
from tinytown_testing import open_sandbox
from tinytown_testing.recordings import install_fake_cli, play_recording
async def main():
    for name in sys.argv[2:]:
        async with open_sandbox() as sandbox:
            install_fake_cli(sandbox.base / "bin", "quill", Path(sys.argv[1]), on_path=True)
            outcome, _ = await play_recording(sandbox, Quill(), name)
            print(name, type(outcome).__name__, getattr(outcome, "text", ""))
trio.run(main)
"""


@pytest.fixture
def env(tmp_path: Path) -> Mapping[str, str]:
    """An environment with the CLI on its PATH and the plugin installed."""
    site, commands = tmp_path / "site", tmp_path / "bin"
    site.mkdir()
    commands.mkdir()
    install_plugin(site, "quill", PLUGIN)
    (commands / "quill").write_text(f"#!{sys.executable}\n{CLI}")
    (commands / "quill").chmod(0o755)
    return {"PYTHONPATH": str(site), "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}


def recording(directory: Path, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    path = directory / "tests" / "recordings" / f"{name}.jsonl"
    first, *events = [json.loads(line) for line in path.read_text().splitlines()]
    return first, events


def test_a_cli_is_recorded_in_every_situation_and_played_again(tt: Shell, env: Mapping[str, str]) -> None:
    variables = ("--env", "QUILL_URL={url}", "--env", "QUILL_KEY=a-secret-key")
    answer = tt("plugin", "record", "quill", *variables, "--json", env=env).json
    assert {each["situation"]: each["outcome"] for each in answer["recordings"]} == {
        "answer": "Finished",
        "tool": "Finished",
        "failed_tool": "Finished",
        "unauthorized": "Unauthorized",
        "rate_limit": "RateLimited",
        "server_error": "Failed",
        "overload": "Failed",
        "cut": "Failed",
        "interrupted": "cancelled",
    }
    first, events = recording(tt.directory, "answer")
    assert (first["cli"], first["version"], first["arguments"]) == ("quill", "quill 7", ["quill", "--json"])
    said = [event.get("out") or event.get("err") for event in events[:-1]]
    assert sorted(map(str, said)) == ["asking with a-value-of-QUILL_KEY", '{"end": true}', '{"text": "{answer}"}']
    assert events[-1]["status"] == 0
    _, events = recording(tt.directory, "interrupted")
    kinds = [next(iter(event.keys() - {"t"})) for event in events]
    assert [kind for kind in kinds if kind != "err"][:2] == ["tool", "signalled"]
    assert kinds[-1] in ("signal", "status")
    played = subprocess.run(
        [sys.executable, "-c", PLAY, tt.directory / "tests" / "recordings", "answer", "rate_limit", "unauthorized"],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert played.stdout.splitlines() == [
        "answer Finished word",
        "rate_limit RateLimited ",
        "unauthorized Unauthorized ",
    ]


def test_what_cannot_be_recorded_is_said(tt: Shell, env: Mapping[str, str]) -> None:
    words = ("plugin", "record", "quill", "--situation", "answer")
    assert "no nib on PATH" in tt(*words, "--program", "nib", env=env, code=3).err
    assert "expected NAME=VALUE" in tt(*words, "--env", "QUILL_URL", env=env, code=2).err
    assert "expected a situation" in tt("plugin", "record", "quill", "--situation", "rain", env=env, code=2).err
    assert "no installed plugin has agents of the kind 'sh'" in tt("plugin", "record", "sh", env=env, code=3).err
    unused = tt(*words, "--program", "true", "--json", env=env, code=1).json["recordings"]
    assert unused[0]["problem"] == "the backend did not start true"
