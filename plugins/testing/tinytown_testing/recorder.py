"""Records a real CLI as the backend of an installed plugin calls it, in the situations that `recordings.fake_scenarios` needs.

The CLI is asked for rounds in a sandbox, against the scripted model server of `models`: it needs no key and no network. In its
place on PATH is `recording_cli`. Any backend can be recorded that starts its CLI by name.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import trio
from tinytown.contracts import AgentBackend
from tinytown.errors import NotFound
from tinytown.plugin import survey_plugins

from tinytown_testing import recording_cli
from tinytown_testing.backend_trial import ReportRecorder
from tinytown_testing.models import ModelServer
from tinytown_testing.promises import described
from tinytown_testing.recording_cli import TOOL_FILE
from tinytown_testing.recordings import ANSWER, Scrubber, install_program
from tinytown_testing.sandbox import Sandbox, changed_environment, open_sandbox, put_on_path

_GRACE_S = 5.0
_POLL_S = 0.05
_VERSION_S = 60.0
_TOOL_WORKS_S = 0.5

_SLOW_TOOL = {"shell": f"echo $$ > {TOOL_FILE}; exec tail -f /dev/null"}

#: What the model answers in each situation, turn by turn.
SITUATIONS: dict[str, tuple[Mapping[str, Any], ...]] = {
    "answer": ({"text": ANSWER},),
    "tool": ({"shell": "echo hi > f.txt"}, {"text": ANSWER}),
    "failed_tool": ({"shell": "echo no good >&2; exit 3"}, {"text": ANSWER}),
    "unauthorized": ({"status": 401},),
    "rate_limit": ({"status": 429},),
    "server_error": ({"status": 500},),
    "overload": ({"status": 529},),
    "cut": ({"drop": "start"},),
    "interrupted": (_SLOW_TOOL, {"text": ANSWER}),
}


@dataclass(frozen=True, slots=True)
class Recorded:
    """One situation. `outcome` is what the backend made of it; with a `problem` there is no file."""

    name: str
    outcome: str = ""
    events: int = 0
    problem: str = ""


async def record_cli(
    kind: str,
    into: Path,
    *,
    program: str = "",
    names: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    toml: str = "",
    limit_s: float = 60.0,
) -> tuple[Recorded, ...]:
    """Record agents of a `kind` in the situations `names` (default: all); the files go into the directory `into`.

    `program` is the CLI's name on PATH, by default the kind. In the values of `environment`, which its process gets, and in the
    settings `toml`, ``{url}`` is the model server's URL; values are not in the recordings. A round may take `limit_s`.

    Raises: NotFound if no installed plugin has the kind, or the program is not on PATH; ConfigError for `toml`.
    """
    command = program or kind
    real = shutil.which(command)
    if real is None:
        raise NotFound(f"there is no {command} on PATH", hint="install it, or name its program with --program")
    with ModelServer() as server:
        given = {name: value.replace("{url}", server.url) for name, value in (environment or {}).items()}
        async with open_sandbox(toml=toml.replace("{url}", server.url)) as sandbox:
            with changed_environment(given):
                backends = survey_plugins(sandbox.config, sandbox.root).backends
                if kind not in backends:
                    raise NotFound(
                        f"no installed plugin has agents of the kind {kind!r}",
                        hint=f"available kinds: {', '.join(sorted(backends)) or 'none'}; see tt plugins",
                    )
                notes = sandbox.base / "notes"
                notes.mkdir()
                words = [sys.executable, "-S", "-I", recording_cli.__file__, str(notes), real]
                install_program(sandbox.base / "bin", Path(command).name, words)
                put_on_path(sandbox.base / "bin")
                about = {"cli": kind, "version": await trio.to_thread.run_sync(_version, real)}
                places = {value: f"a-value-of-{name}" for name, value in given.items() if len(value) > 7}
                recorder = _Recorder(sandbox, backends[kind], notes, command, about, places, given, limit_s)
                return tuple([await recorder.record(name, into / f"{name}.jsonl") for name in names or SITUATIONS])


@dataclass(frozen=True, slots=True)
class _Recorder:
    sandbox: Sandbox
    backend: AgentBackend
    notes: Path
    command: str
    about: Mapping[str, str]
    places: Mapping[str, str]
    environment: Mapping[str, str]
    limit_s: float

    async def record(self, name: str, path: Path) -> Recorded:
        before = set(self.notes.iterdir())
        (self.sandbox.work / TOOL_FILE).unlink(missing_ok=True)
        try:
            outcome = await self._round(name)
        except Exception as error:
            outcome = f"it raised {described(error)}"
        runs = [lines for file in self.notes.iterdir() if file not in before and (lines := _read(file))]
        runs = [lines for lines in runs if "--version" not in lines[0]["arguments"]]
        if not runs:
            return Recorded(name, outcome, problem=f"the backend did not start {self.command}")
        (arguments, *events) = max(runs, key=len)
        if name == "interrupted" and not any(event.get("tool") == "started" for event in events):
            return Recorded(name, outcome, problem="the model's command did not start")
        self._write(name, path, arguments["arguments"], events)
        return Recorded(name, outcome, len(events))

    async def _round(self, name: str) -> str:
        """The outcome of a round in this situation, by its name."""
        agent = self.sandbox.agent(name.replace("_", "-"), cli=self.backend.kind)
        prompt = f"do it <stub>{msgspec.json.encode(SITUATIONS[name]).decode()}</stub>"
        round_ = self.sandbox.round(
            agent, prompt, environment={**self.environment, "PATH": os.environ["PATH"]}, grace_s=_GRACE_S
        )
        async with self.backend.open(self.sandbox.context(agent)) as session:
            with trio.move_on_after(self.limit_s) as limit:
                async with trio.open_nursery() as nursery:
                    if name == "interrupted":
                        nursery.start_soon(self._cancel_at_work, nursery.cancel_scope)
                    outcome = await session.run_round(round_, ReportRecorder())
                    nursery.cancel_scope.cancel()
                    return type(outcome).__name__
            return f"ended after {self.limit_s:g} s" if limit.cancelled_caught else "cancelled"

    async def _cancel_at_work(self, scope: trio.CancelScope) -> None:
        """Cancel the round once a command of the model is at work."""
        while not (self.sandbox.work / TOOL_FILE).exists():  # noqa: ASYNC110 - another process makes it
            await trio.sleep(_POLL_S)
        await trio.sleep(_TOOL_WORKS_S)
        scope.cancel()

    def _write(self, name: str, path: Path, arguments: Sequence[str], events: Sequence[Mapping[str, Any]]) -> None:
        sandbox = self.sandbox
        state = sandbox.context(sandbox.agent(name.replace("_", "-"), cli=self.backend.kind)).state_directory
        places = {str(state): "/agent", str(sandbox.work): "/work", str(sandbox.base): "/bench"}
        scrubber = Scrubber({**places, **self.places, socket.gethostname(): "host", str(Path(sys.prefix)): "/python"})
        first = {
            **self.about,
            "recorded": date.today().isoformat(),
            "scenario": name,
            "arguments": [scrubber.scrub(each) for each in (self.command, *arguments)],
        }
        lines = [{key: _scrubbed(scrubber, value) for key, value in event.items()} for event in events]
        if not events or not {"status", "signal"} & events[-1].keys():
            lines.append({"signal": 9})  # with the whole tree, before it could be noted
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in (first, *lines)))


def _scrubbed(scrubber: Scrubber, value: Any) -> Any:
    return scrubber.scrub(value) if isinstance(value, str) else value


def _read(path: Path) -> list[dict[str, Any]]:
    """The lines of a run; without the last one if that is cut off."""
    lines: list[dict[str, Any]] = []
    for line in path.read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def _version(program: str) -> str:
    """What a program says of itself, or that it does not say it."""
    try:
        ran = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=_VERSION_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return (ran.stdout.strip().splitlines() or ["unknown"])[0]
