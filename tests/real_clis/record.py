"""Records the transcripts that fake CLIs play: ``python -m tests.real_clis.record [KIND ...]``, with TINYTOWN_REAL_CLIS set.

Each situation is a run of the real CLI, called as its adapter calls it, against a model server on this machine. The files
replace those in ``plugins/<plugin>/tests/transcripts``.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import trio
from tinytown.adapters import CliBackend, CliSessionRecord, CliSettings, Launch
from tinytown.adapters.remembered import write_private
from tinytown.adapters.town_tools import prepare_town_tools
from tinytown.testing import Bench, open_bench
from tinytown.testing.models import ModelServer
from tinytown.testing.transcripts import ANSWER, TOOL_FILE, Scrubber, record

from tests.real_clis.clis import KEY, REAL_CLIS, RealCli, git

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


_SLOW_TOOL = {"shell": f"echo $$ > {TOOL_FILE}; exec sleep 600"}
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
    version = version_of(cli, path)
    plugin, *inner = cli.table or (cli.kind,)
    target = ROOT.joinpath("plugins", plugin, "tests", "transcripts", *inner)
    shutil.rmtree(target, ignore_errors=True)
    async with open_bench() as bench:
        git(bench.work, "init", "-q")
        git(bench.work, "config", "user.name", "Ada")
        git(bench.work, "config", "user.email", "ada@example.org")
        with ModelServer() as server:
            async with bench.open_town():
                for name, situation in SITUATIONS.items():
                    events = record_one(cli, bench, server, path, version, name, situation, target)
                    print(f"{cli.kind} {name}: {len(events)} events, ended with {events[-1]}")


def version_of(cli: RealCli, path: str) -> str:
    """What it says of itself."""
    command = [str(shutil.which(cli.kind, path=path)), "--version"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def record_one(
    cli: RealCli,
    bench: Bench,
    server: ModelServer,
    path: str,
    version: str,
    name: str,
    situation: Situation,
    target: Path,
) -> list[dict[str, Any]]:
    backend = cli.backend(bench, server)
    assert isinstance(backend, CliBackend)
    place = bench.context(bench.agent(cli=cli.kind)).state_directory / name
    # The session that is gone on with has been made by the situation `answer`.
    shared = place.with_name("answer")
    prompt = f"do it <stub>{msgspec.json.encode(situation.replies).decode()}</stub>"
    round_ = bench.round(bench.agent(cli=cli.kind), prompt)
    session = None
    if situation.resume:
        id_ = (
            session_of(target / "answer.jsonl", shared) if name == "resume" else "11111111-1111-4111-8111-111111111111"
        )
        session = CliSessionRecord(id=id_, agent_id="", directory=str(bench.work))
    home = shared if name == "resume" else place
    (home / "state").mkdir(parents=True, exist_ok=True)
    environment = {**round_.environment, "PATH": path, **cli.environment(server.url)}
    if not situation.logged_in:
        environment |= dict.fromkeys(cli.keys, "")
    launch: Launch[CliSettings] = Launch(
        settings=backend.settings,
        permissions="full",
        prompt=prompt,
        directory=bench.work,
        place=home,
        has_own_state=True,
        session=session,
        tools=prepare_town_tools(home, environment) if situation.tools else None,
        environment=environment,
    )
    plan = backend.adapter.plan(launch)
    for file, content in plan.files.items():
        write_private(home / file, content)
    env = {key: value for key, value in {**environment, **plan.environment}.items() if value is not None}
    (bench.work / TOOL_FILE).unlink(missing_ok=True)
    scrubber = Scrubber(
        {str(home): "/agent", str(bench.work): "/work", str(bench.base): "/bench", KEY: "a-key"}
        | dict.fromkeys(path.split(os.pathsep)[:2], "/clis")
        | {str(Path(sys.prefix)): "/python", sys.executable: "/python/bin/python"}
    )
    about = {
        "cli": cli.kind,
        "version": version,
        "recorded": date.today().isoformat(),
        "scenario": name,
        "arguments": [scrubber.scrub(each) for each in (cli.kind, *plan.arguments)],
    }
    return record(
        [*backend.command, *plan.arguments],
        target / f"{name}.jsonl",
        about=about,
        cwd=bench.work,
        env=env,
        stdin=plan.stdin or b"",
        scrubber=scrubber,
        interrupt=situation.interrupt,
        limit_s=situation.limit_s,
    )


def session_of(transcript: Path, place: Path) -> str:
    """The id of the session that was recorded last; transcripts hold placeholders, so it is looked for where it lies."""
    found = sorted(place.glob("state/**/*.jsonl"), key=lambda path: path.stat().st_mtime)
    return found[-1].stem[-36:]


def main() -> None:
    for cli in REAL_CLIS:
        if len(sys.argv) == 1 or cli.kind in sys.argv[1:]:
            trio.run(record_all, cli)


if __name__ == "__main__":
    main()
