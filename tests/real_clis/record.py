"""Records the recordings that fake CLIs play: ``python -m tests.real_clis.record [KIND ...]``, with TINYTOWN_REAL_CLIS set.

Each situation is a run of the real CLI, called as its adapter calls it, against a model server on this machine. The files
replace those in ``plugins/<plugin>/tests/recordings``.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
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
from tinytown_adapters import CliBackend, CliSessionRecord, CliSettings, RunRequest
from tinytown_adapters.session_store import write_private
from tinytown_adapters.town_tools import prepare_town_tools
from tinytown_testing import Sandbox, open_sandbox
from tinytown_testing.models import ModelServer, Script
from tinytown_testing.recording_cli import TOOL_FILE
from tinytown_testing.recordings import ANSWER, Scrubber, record

from tests.real_clis.clis import DIRECTORIES_VARIABLE, KEY, REAL_CLIS, RealCli, git
from tests.real_clis.test_towns import COMMIT, EDIT as EDIT_TEXT

ROOT = Path(__file__).parents[2]
LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Situation:
    """What the model answers, turn by turn, and what else is out of the ordinary."""

    replies: tuple[dict[str, Any], ...]
    resume: bool = False
    tools: bool = False
    logged_in: bool = True
    interrupt: signal.Signals | None = None
    limit_s: float = LIMIT_S


_NO_SESSION = "11111111-1111-4111-8111-111111111111"
#: A conversation cannot be played from a recording: what Codex says without one.
_SETTINGS = {"codex": {"app_server": False}}
_NEED_A_SHELL = {"failed_tool", "mcp", "interrupted", "terminated"}

_SLOW_TOOL = {"shell": f"echo $$ > {TOOL_FILE}; exec tail -f /dev/null"}
_LIMIT = "Rate limit reached. Please try again in 90s."

SITUATIONS = {
    "answer": Situation(({"text": ANSWER},)),
    "tool": Situation(({"shell": "echo hi > f.txt && git add f.txt && git commit -qm f"}, {"text": ANSWER})),
    "failed_tool": Situation(({"shell": "echo no good >&2; exit 3"}, {"text": ANSWER})),
    "mcp": Situation(({"mcp": {"server": "town", "tool": "status", "input": {}}}, {"text": ANSWER}), tools=True),
    "resume": Situation(({"text": ANSWER},), resume=True),
    "no_session": Situation(({"text": ANSWER},), resume=True),
    "unauthorized": Situation(({"status": 401},)),
    "no_login": Situation(({"text": ANSWER},), logged_in=False),
    "rate_limit": Situation(({"status": 429},)),
    "rate_limit_reset": Situation(({"status": 429, "message": _LIMIT},)),
    "server_error": Situation(({"status": 500},)),
    "overload": Situation(({"status": 529},)),
    "model_unknown": Situation(({"status": 404, "message": "model: no-such-model does not exist"},)),
    "too_long": Situation(({"status": 400, "message": "prompt is too long: 300000 tokens > 200000 maximum"},)),
    "cut": Situation(({"drop": "start"},)),
    "silent": Situation(({"hang": "start"},), limit_s=8.0),
    "interrupted": Situation((_SLOW_TOOL, {"text": ANSWER}), interrupt=signal.SIGINT),
    "terminated": Situation((_SLOW_TOOL, {"text": ANSWER}), interrupt=signal.SIGTERM),
}


async def record_all(cli: RealCli) -> None:
    """Every situation of one CLI."""
    path = cli.path()
    places = os.environ[DIRECTORIES_VARIABLE].split(os.pathsep)
    version = version_of(cli, path)
    plugin, *inner = cli.table or (cli.kind,)
    target = ROOT.joinpath("plugins", plugin, "tests", "recordings", *inner)
    async with open_sandbox() as sandbox:
        # The town is opened here and used from below, where HOME is another.
        os.environ["XDG_STATE_HOME"] = str(sandbox.home / ".local" / "state")
        git(sandbox.work, "init", "-q")
        git(sandbox.work, "config", "user.name", "Ada")
        git(sandbox.work, "config", "user.email", "ada@example.org")
        with ModelServer() as server:
            async with sandbox.open_town():
                session = ""
                for name, situation in SITUATIONS.items():
                    if name in _NEED_A_SHELL and not cli.has_shell:
                        continue
                    scrubber = _scrubber(sandbox, places)
                    id_ = session if name == "resume" else _NO_SESSION
                    file = target / f"{name}.jsonl"
                    events = record_one(cli, sandbox, server, path, version, name, situation, file, scrubber, id_)
                    if name == "answer":
                        session = session_of(events, scrubber)
                    print(f"{cli.kind} {name}: {len(events)} events, ended with {events[-1]}", flush=True)


def _scrubber(sandbox: Sandbox, places: Sequence[str]) -> Scrubber:
    known = {str(sandbox.work): "/work", str(sandbox.base): "/bench", KEY: "a-key", socket.gethostname(): "host"}
    for place in places:
        known |= {place: "/clis", str(Path(place).parent): "/clis"}
    return Scrubber(known | {str(Path(sys.prefix)): "/python", sys.executable: "/python/bin/python"})


def version_of(cli: RealCli, path: str) -> str:
    """What it says of itself."""
    command = [str(shutil.which(cli.kind, path=path)), "--version"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def record_one(
    cli: RealCli,
    sandbox: Sandbox,
    server: ModelServer,
    path: str,
    version: str,
    name: str,
    situation: Situation,
    file: Path,
    scrubber: Scrubber,
    session_id: str,
) -> list[dict[str, Any]]:
    backend = cli.backend(sandbox, server, **_SETTINGS.get(cli.kind, {}))
    assert isinstance(backend, CliBackend)
    place = sandbox.context(sandbox.agent(cli=cli.kind)).state_directory / name
    shared = place.with_name("answer")  # where the session is that is gone on with
    prompt = f"do it <stub>{msgspec.json.encode(situation.replies).decode()}</stub>"
    if not cli.has_shell:
        prompt, server.script = (
            "do it",
            Script([COMMIT, {"text": EDIT_TEXT} if name == "tool" else situation.replies[-1]]),
        )
    round_ = sandbox.round(sandbox.agent(cli=cli.kind), prompt)
    session = None
    if situation.resume:
        session = CliSessionRecord(id=session_id, agent_id="", directory=str(sandbox.work))
    home = shared if name == "resume" else place
    (home / "state").mkdir(parents=True, exist_ok=True)
    environment = {**round_.environment, "PATH": path, **cli.environment(server.url)}
    if not situation.logged_in:
        environment |= dict.fromkeys(cli.keys, "")
    request: RunRequest[CliSettings] = RunRequest(
        settings=backend.settings,
        permissions="full",
        prompt=prompt,
        directory=sandbox.work,
        work_dir=home,
        has_own_state=True,
        session=session,
        tools=prepare_town_tools(home, environment) if situation.tools else None,
        environment=environment,
    )
    spec = backend.adapter.command_spec(request)
    for written, content in spec.files.items():
        write_private(home / written, content)
    env = {key: value for key, value in {**environment, **spec.environment}.items() if value is not None}
    (sandbox.work / TOOL_FILE).unlink(missing_ok=True)
    scrubber.places = {**scrubber.places, str(home): "/agent"}
    about = {
        "cli": cli.kind,
        "version": version,
        "recorded": date.today().isoformat(),
        "scenario": name,
        "arguments": [scrubber.scrub(each) for each in (cli.kind, *spec.arguments)],
    }
    return record(
        [*backend.command, *spec.arguments],
        file,
        about=about,
        cwd=sandbox.work,
        env=env,
        stdin=spec.stdin or b"",
        scrubber=scrubber,
        interrupt=situation.interrupt,
        limit_s=situation.limit_s,
    )


_SESSION = re.compile(r'"(?:session_id|sessionId|sessionID|thread_id)":\s*"([^"]+)"')


def session_of(events: Sequence[Mapping[str, Any]], scrubber: Scrubber) -> str:
    """The CLI's own id of the session that was recorded; without ids, the one that our adapter goes by."""
    for event in events:
        if found := _SESSION.search(str(event.get("out", ""))):
            return scrubber.original(found[1]) or found[1]
    return "chat-history"


def main() -> None:
    for cli in REAL_CLIS:
        if len(sys.argv) == 1 or cli.kind in sys.argv[1:]:
            trio.run(record_all, cli)


if __name__ == "__main__":
    main()
