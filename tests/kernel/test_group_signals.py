"""Signals for a whole process group or cgroup, as service managers and shutdowns send them, are no verdicts on the work."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from tinytown.model.events import RoundEnded
from tinytown.process import descendants_of

PLUGINS = Path(__file__).parents[2] / "plugins"
#: Kind -> its command, and recordings of the real CLI: among them what it does when a signal comes while a tool works.
RECORDED = {
    "claude": ("claude", PLUGINS / "claude/tests/recordings"),
    "codex": ("codex", PLUGINS / "codex/tests/recordings"),
    "auggie": ("auggie", PLUGINS / "auggie/tests/recordings"),
    "aider": ("aider", PLUGINS / "clis/tests/recordings/aider"),
    "copilot": ("copilot", PLUGINS / "clis/tests/recordings/copilot"),
    "cursor": ("cursor-agent", PLUGINS / "clis/tests/recordings/cursor"),
    "gemini": ("gemini", PLUGINS / "clis/tests/recordings/gemini"),
    "opencode": ("opencode", PLUGINS / "clis/tests/recordings/opencode"),
}
#: An agent of the Agent Client Protocol that answers a prompt when a signal comes, and says that all is well.
ACP_AGENT = """\
import json, os, signal, subprocess, sys
def answer(id_, **result): print(json.dumps({"jsonrpc": "2.0", "id": id_, "result": result}), flush=True)
for line in sys.stdin:
    message = json.loads(line)
    if message["method"] == "session/prompt":
        signal.signal(signal.SIGTERM, lambda *_: answer(message["id"], stopReason="cancelled"))
        tool = subprocess.Popen(["sleep", "600"])
        signal.pause()
        tool.wait()
        sys.exit(143)
    answer(message["id"], protocolVersion=1, sessionId="s")
"""


def signal_all(pids: Iterable[int], number: int) -> None:
    """Parents first: a shell that outlives its command for a moment could report that all went well."""
    for pid in sorted(pids):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@pytest.mark.faults
@pytest.mark.deadline_s(60)
@pytest.mark.parametrize("order", ["commands first", "kernel first"])
@pytest.mark.parametrize("script", ["sleep 1000", "sleep 1000; true", "trap 'exit 3' TERM; sleep 1000 & wait"])
async def test_what_a_signal_for_all_processes_ends_is_interrupted_and_done_again(
    town_dir, start_kernel, wait_for_file, order, script
) -> None:
    town_dir.configure('default_cli = "shell"\nlease_s = 5.0\ndrain_s = 5.0\n', grace_s=2.0)
    async with town_dir.connect() as town:
        kernel = await trio.to_thread.run_sync(start_kernel)
        agent = await town.spawn("ada")
        task = await agent.assign(f"echo x >> began; test $(wc -l < began) = 2 || {{ {script}; }}")
        await wait_for_file(town_dir.root / "began", "x")
        commands = descendants_of(kernel.pid)
        if order == "kernel first":
            kernel.signal(signal.SIGTERM)
        signal_all(commands, signal.SIGTERM)
        if order == "commands first":
            await trio.sleep(0.1)
            kernel.signal(signal.SIGTERM)
        assert await trio.to_thread.run_sync(kernel.wait) == 0
        stopped = await town.task(task.id)
        assert (stopped.state, stopped.attempts) == ("assigned", 0)
        events = await town.run(town.operations.latest_events(100))
        assert [event.outcome for event in events if isinstance(event, RoundEnded)] == ["interrupted"]
        await trio.to_thread.run_sync(kernel.start)
        done = await town.wait_for_task(task.id)
        assert (done.state, done.attempts) == ("completed", 1)


@pytest.mark.faults
@pytest.mark.deadline_s(60)
@pytest.mark.parametrize("kind", [*RECORDED, "acp", "command"])
async def test_a_signal_for_all_processes_is_no_verdict_of_any_backend(
    town_dir, start_kernel, fake_cli, monkeypatch, kind
) -> None:
    for command, recordings in RECORDED.values():
        fake_cli(command, recordings)
    monkeypatch.setenv("IS_SANDBOX", "1")
    agent_program = town_dir.root / "agent.py"
    agent_program.write_text(ACP_AGENT)
    tables = f"""
[plugins.codex]
app_server = false
[plugins.acp.agents.acp]
command = ["{sys.executable}", "{agent_program}"]
permissions = "full"
[agent_clis.command]
command = ["sh", "-c", "cat > /dev/null; trap 'exit 143' TERM; sleep 600 & wait"]
"""
    town_dir.configure(f"lease_s = 5.0\ndrain_s = 5.0\n{tables}", grace_s=2.0)
    async with town_dir.connect() as town:
        kernel = await trio.to_thread.run_sync(start_kernel)
        agent = await town.spawn("ada", cli=kind)
        play = "interrupted" if kind == "cursor" else "terminated"
        task = await agent.assign(f'<fake>{{"play": "{play}"}}</fake>')
        while not any(b"sleep\x00600" in command_line(pid) for pid in descendants_of(kernel.pid)):  # noqa: ASYNC110
            await trio.sleep(0.05)
        signal_all(descendants_of(kernel.pid), signal.SIGTERM)
        await trio.sleep(0.1)  # before the moment in which a verdict would be recorded is over
        kernel.signal(signal.SIGTERM)
        assert await trio.to_thread.run_sync(kernel.wait) == 0
        stopped = await town.task(task.id)
        assert (stopped.state, stopped.attempts) == ("assigned", 0)
        events = await town.run(town.operations.latest_events(100))
        assert [event.outcome for event in events if isinstance(event, RoundEnded)] == ["interrupted"]


def command_line(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


@pytest.mark.faults
@pytest.mark.deadline_s(60)
async def test_a_whole_town_whose_server_is_signalled_too_continues_where_it_was(
    town_dir, start_kernel, wait_for_file
) -> None:
    town_dir.configure('default_cli = "shell"\nlease_s = 2.0\n[redis]\ndurability = "safe"\n', grace_s=0.5)
    async with town_dir.connect() as town:
        kernel = await trio.to_thread.run_sync(start_kernel)
        agent = await town.spawn("ada")
        task = await agent.assign("echo x >> began; test $(wc -l < began) -ge 2 || sleep 1000")
        await wait_for_file(town_dir.root / "began", "x")
        server = town_dir.server.pid()
        assert server
        signal_all([*descendants_of(kernel.pid), server, kernel.pid], signal.SIGTERM)
        assert await trio.to_thread.run_sync(kernel.wait) == 0
        await trio.to_thread.run_sync(kernel.start)
        assert (await town.wait_for_task(task.id)).state == "completed"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
async def test_a_shell_that_says_a_signal_ended_its_command_is_tried_again(town_dir, number) -> None:
    town_dir.configure('default_cli = "shell"\n', max_attempts=3)
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await agent.assign(f"echo x >> began; test $(wc -l < began) = 2 || exit {128 + number}; echo done")
        done = await town.wait_for_task(task.id)
        assert (done.state, done.attempts, done.result) == ("completed", 2, "done")
