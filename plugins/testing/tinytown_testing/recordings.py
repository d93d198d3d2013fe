"""Recordings of real CLIs: recording what one does, making it the same on every machine, and putting it on PATH again.

A recording is a file of JSON lines. The first says where it comes from: ``{"cli", "version", "recorded", "scenario",
"arguments"}``. Then comes what was seen, with the second `t` it was seen in: ``{"out": line}``, ``{"err": line}``, ``{"tool":
"started"}`` and ``{"tool": "ended"}`` for the process of a tool, ``{"signalled": "SIGINT"}`` for what was sent to the CLI,
and at last its end, ``{"status": N}`` or ``{"signal": N}``. Paths, ports, ids and times are stable placeholders. `fake_cli`
plays them.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tinytown.contracts import AgentBackend, Outcome
from tinytown.model.agents import Agent

from tinytown_testing import fake_cli
from tinytown_testing.backend_trial import ReportRecorder
from tinytown_testing.recording_cli import TOOL_FILE
from tinytown_testing.sandbox import Sandbox, put_on_path
from tinytown_testing.scenarios import BackendScenarios, Scenario

#: What a recorded prompt asks the model to say, so that a replayed one can say something else.
ANSWER = "PLACEHOLDERANSWER"
_ENDS_AFTER_S = 0.5
_POLL_S = 0.05

_SCRUBBED: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?"), "2026-01-31T09:30:00.125Z"),
    (re.compile(r"\b1[789]\d{11}\b"), "1769851800125"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:1"),
    (re.compile(r"\b[A-Fa-f0-9]{40}\b"), "0" * 40),
    # Claude Code's counts of agents of its own: long, without meaning for any reader, and different in each release.
    (re.compile(r',"[a-z]+agent_stats":\{(?:[^{}]|\{[^{}]*\})*\}'), ""),
)
_IDS = re.compile(
    r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"
    r"|\b(?:toolu|tooluse|msg|req|resp|call|fc|ctc|ses|prt|chatcmpl)[_-][A-Za-z0-9]{16,}\b"
)


def install_fake_cli(directory: Path, name: str, recordings: Path, *, on_path: bool = False) -> Path:
    """Put a command `name` into `directory` that plays the recordings of the directory `recordings`.

    With `on_path` the directory becomes the first of this process's PATH; a sandbox gives back what was there.
    """
    path = install_program(directory, name, [sys.executable, "-S", "-I", fake_cli.__file__, str(recordings.absolute())])
    if on_path:
        put_on_path(directory)
    return path


def install_program(directory: Path, name: str, words: Sequence[str]) -> Path:
    """Put a program `name` into `directory` that runs these words of a command line, followed by its own arguments."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    path.chmod(0o755)
    return path


def fake_scenarios(*, login_error: str = "unauthorized", rate_limit: str = "rate_limit") -> BackendScenarios:
    """The situations of a backend whose CLI is a fake one, for `check_agent_backend`; the arguments name recordings.

    It also plays one called ``interrupted``, in which a tool is at work when a signal comes.
    """

    def fake(**wanted: str) -> str:
        return f"<fake>{json.dumps(wanted)}</fake>"

    return BackendScenarios(
        answer=lambda word: Scenario(task=word),
        work=Scenario(task=fake(play="interrupted")),
        stubborn=Scenario(task=fake(stubborn="ready"), marker="ready"),
        killed=Scenario(task=fake(die="last words"), marker="last words"),
        missing_tool=Scenario(environment={"PATH": "/nonexistent"}),
        output=lambda path: Scenario(task=fake(print=str(path))),
        late_output=Scenario(task=fake(late="too late"), marker="too late"),
        rate_limit=Scenario(task=fake(play=rate_limit)),
        login_error=Scenario(task=fake(play=login_error)),
        silent=Scenario(task=fake(play="interrupted")),
        failing=Scenario(task=fake(fail="cannot work")),
    )


async def play_recording(
    sandbox: Sandbox, backend: AgentBackend, name: str, *, agent: Agent | None = None
) -> tuple[Outcome, list[str]]:
    """A round on the bench in which the fake CLI does what the recording `name` says; its outcome, and what was reported.

    The answer of the model is ``word``.
    """
    chosen, recorder = agent or sandbox.agent(cli=backend.kind), ReportRecorder()
    async with backend.open(sandbox.context(chosen)) as session:
        wanted = json.dumps({"play": name})
        outcome = await session.run_round(sandbox.round(chosen, f"<fake>{wanted}</fake> word"), recorder)
    return outcome, recorder.lines


@dataclass(slots=True)
class Scrubber:
    """Makes the text of one recording the same on every machine; an id becomes the same placeholder every time.

    `places` are paths and other texts of this machine, with what is to stand for them.
    """

    places: Mapping[str, str] = field(default_factory=dict[str, str])
    _ids: dict[str, str] = field(default_factory=dict[str, str])

    def scrub(self, text: str) -> str:
        for place in sorted(self.places, key=len, reverse=True):
            text = text.replace(place, self.places[place])
        for pattern, replacement in _SCRUBBED:
            text = pattern.sub(replacement, text)
        return _IDS.sub(self._placeholder, text).replace(ANSWER, "{answer}")

    def original(self, placeholder: str) -> str | None:
        """The id that this placeholder stands for."""
        return next((id_ for id_, given in self._ids.items() if given == placeholder), None)

    def _placeholder(self, found: re.Match[str]) -> str:
        return self._ids.setdefault(found[0], _stable_id(found[0], len(self._ids) + 1))


def _stable_id(id_: str, number: int) -> str:
    """Of the same shape as the id, but with its number for the random part."""
    if id_.count("-") == 4:
        return f"00000000-0000-4000-8000-{number:012}"
    prefix = re.split(r"[_-]", id_)[0]
    return f"{id_[: len(prefix) + 1]}{number:0{len(id_) - len(prefix) - 1}}"


def record(
    command: Sequence[str],
    path: Path,
    *,
    about: Mapping[str, Any],
    cwd: Path,
    env: Mapping[str, str],
    stdin: bytes = b"",
    scrubber: Scrubber,
    interrupt: signal.Signals | None = None,
    limit_s: float = 60.0,
) -> list[dict[str, Any]]:
    """Run a real CLI, write its recording to `path`, and return what it holds; `about` is its first line.

    With `interrupt`, its group gets this signal once a tool of it is running (see `TOOL_FILE`). Whatever has not ended
    after `limit_s` gets SIGTERM, and SIGKILL at last. Blocks.
    """
    began = time.monotonic()
    events: list[dict[str, Any]] = []

    def note(**event: Any) -> None:
        events.append({"t": round(time.monotonic() - began, 2), **event})

    def listen(stream: IO[bytes], name: str) -> None:
        for line in stream:
            note(**{name: scrubber.scrub(line.decode("utf-8", "replace").rstrip("\r\n"))})

    with subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        recorders = [
            threading.Thread(target=listen, args=(process.stdout, "out"), daemon=True),
            threading.Thread(target=listen, args=(process.stderr, "err"), daemon=True),
        ]
        for recorder in recorders:
            recorder.start()
        try:
            process.stdin.write(stdin)
            process.stdin.close()
        except BrokenPipeError:
            pass
        tool = 0
        if interrupt is not None:
            tool = _wait_for_tool(cwd / TOOL_FILE, began + limit_s)
            note(tool="started")
            time.sleep(_ENDS_AFTER_S)
            note(signalled=interrupt.name)
            os.killpg(process.pid, interrupt)
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                process.wait(max(0.1, began + limit_s - time.monotonic()) if number == signal.SIGTERM else 5.0)
                break
            except subprocess.TimeoutExpired:
                note(signalled=number.name)
                os.killpg(process.pid, number)
        status = process.wait()
        time.sleep(_ENDS_AFTER_S)
        if tool and not _is_running(tool):
            note(tool="ended")
        elif tool:
            os.kill(tool, signal.SIGKILL)  # its streams are still open in it
        for recorder in recorders:
            recorder.join(5.0)
    note(**({"status": status} if status >= 0 else {"signal": -status}))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in ({**about}, *events)))
    return events


def _wait_for_tool(path: Path, deadline: float) -> int:
    while time.monotonic() < deadline:
        if path.exists() and (text := path.read_text().strip()):
            return int(text)
        time.sleep(_POLL_S)
    raise TimeoutError(f"no tool was started: there is no {path}")


def _is_running(pid: int) -> bool:
    try:
        return not Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0].startswith("Z")
    except OSError:
        return False
