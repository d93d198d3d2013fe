"""Agents of the kind `quill`: a coding CLI that prints JSON lines, by the library for adapters."""

import json
from pathlib import Path
from typing import Any, ClassVar

from tinytown.contracts import AgentBackend
from tinytown.hookspecs import hookimpl
from tinytown_adapters import (
    CliAdapter,
    CliSettings,
    CommandSpec,
    JsonLinesReader,
    Record,
    RunRequest,
    RunState,
    backends_for,
    failure_of,
)

TINYTOWN_HOOK_API = 2


@hookimpl
def tinytown_settings_type() -> type[CliSettings]:
    return CliSettings


@hookimpl
def tinytown_agent_backends(settings: CliSettings, root: Path) -> list[AgentBackend]:
    return list(backends_for(Quill(), settings, root))


class Reader(JsonLinesReader):
    def on_record(self, record: Record) -> None:
        if record.text("session"):
            self.state.session(record.text("session"))
        if record.text("tool"):
            self.state.start_tool(record.text("tool"))
        if record.text("text"):
            self.state.add_text(record.text("text"))
        if record.text("error"):
            self.state.fail(failure_of(record.text("error")))
        if record.flag("end"):
            self.state.finish()


class Quill(CliAdapter[CliSettings]):
    plugin: ClassVar[str] = "quill"
    kind: ClassVar[str] = "quill"
    title: ClassVar[str] = "Quill"
    command: ClassVar[tuple[str, ...]] = ("quill",)
    install: ClassVar[str] = "see the documentation of quill"
    login: ClassVar[str] = "quill login"

    def command_spec(self, request: RunRequest[CliSettings]) -> CommandSpec:
        session = ["--resume", request.session.id] if request.session else []
        return CommandSpec(arguments=["--json", *session, *request.settings.extra_args], stdin=request.prompt_bytes)

    def reader(self, state: RunState, request: RunRequest[CliSettings]) -> Reader:
        return Reader(state)


RECORDINGS: dict[str, list[dict[str, Any]]] = {
    "answer": [{"out": '{"session": "s1"}'}, {"out": '{"text": "{answer}"}'}, {"out": '{"end": true}'}, {"status": 0}],
    "interrupted": [
        {"out": '{"session": "s1", "tool": "shell"}'},
        {"tool": "started"},
        {"signalled": "SIGTERM"},
        {"tool": "ended"},
        {"signal": 15},
    ],
    "unauthorized": [{"out": '{"error": "authentication failed: invalid API key", "end": true}'}, {"status": 1}],
    "rate_limit": [{"out": '{"error": "429 rate limit reached, try again in 90s", "end": true}'}, {"status": 1}],
}


def scenarios(sandbox: Any) -> dict[str, object]:
    from tinytown_testing.recordings import fake_scenarios, install_fake_cli

    recordings = sandbox.base / "recordings"
    recordings.mkdir()
    for name, events in RECORDINGS.items():
        lines = [{"cli": "quill", "version": "1", "scenario": name}, *events]
        (recordings / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    install_fake_cli(sandbox.base / "bin", "quill", recordings, on_path=True)
    return {"backend quill": fake_scenarios()}
