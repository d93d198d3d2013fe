"""The peers: Python task queues running no-op jobs, and `redis-benchmark` as the limit of the server itself.

Each peer's script in `peers/` says in its header what it needs and gets an environment of its own, because the
peers exclude each other's versions of redis-py. What a peer's rate counts: the time to enqueue all jobs plus the time
from the first to the last job done in one worker process; starting that worker is left out.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .children import ChildFailed, figures_of, running, wait_for_file
from .measure import Competitor, Figures, Skipped
from .server import Durability, throwaway_server

PEERS = Path(__file__).parent / "peers"
DEADLINE_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """One peer. `recovers` says whether a killed worker's jobs come back with default settings.

    One that is not `as_shipped` has settings that only serve its rate; it has a row, and no say in what is wanted.
    """

    name: str
    script: str
    recovers: bool
    note: str
    as_shipped: bool = True
    env: Mapping[str, str] = field(default_factory=dict[str, str])


QUEUES = (
    Queue(name="arq", script="arq_noops.py", recovers=True, note="polls every 0.5 s (default); recovers in minutes"),
    Queue(
        name="arq, poll 10 ms",
        script="arq_noops.py",
        recovers=True,
        note="not as shipped: poll_delay 0.01, so that polling does not bound the rate",
        as_shipped=False,
        env={"BENCH_POLL_S": "0.01"},
    ),
    Queue(
        name="streaq",
        script="streaq_noops.py",
        recovers=True,
        note="not as shipped: silent, ttl 0, so that logs and kept results do not bound the rate",
        as_shipped=False,
    ),
    Queue(
        name="streaq, as shipped",
        script="streaq_noops.py",
        recovers=True,
        note="logs each task, keeps each result 5 min (default); recovers in about a minute",
        env={"BENCH_AS_SHIPPED": "1"},
    ),
    Queue(
        name="dramatiq", script="dramatiq_noops.py", recovers=False, note="recovery waits for a maintenance by chance"
    ),
    Queue(
        name="taskiq-redis", script="taskiq_noops.py", recovers=False, note="stream broker; reclaims after 10 min idle"
    ),
    Queue(name="celery", script="celery_noops.py", recovers=False, note="acknowledges before the job runs (default)"),
)


def queue_competitors(jobs: int, durability: Durability, environments: Path) -> tuple[Competitor, ...]:
    """One competitor per peer; each round is `jobs` no-op jobs on a fresh server and a fresh worker."""

    def competitor(queue: Queue) -> Competitor:
        return Competitor(
            name=queue.name, note=queue.note, measure=lambda: _measure_queue(queue, jobs, durability, environments)
        )

    return tuple(competitor(queue) for queue in QUEUES)


def limit_competitors(commands: int, durability: Durability) -> tuple[Competitor, ...]:
    """`redis-benchmark` with 300-byte RPUSHes on 20 connections: what the server does when no Python is involved.

    One command a round trip, and 16 to a round trip. A message of a mailbox takes at least two commands.
    """
    note = "commands/s of RPUSH, 300 bytes, 20 connections: the server's limit, not a queue"

    def competitor(pipeline: int) -> Competitor:
        # More commands where they go by faster, so that a round is long enough to measure.
        return Competitor(
            name=f"redis-benchmark -P {pipeline}",
            note=note,
            measure=lambda: _measure_limit(pipeline, commands * (1 if pipeline == 1 else 4), durability),
        )

    return competitor(1), competitor(16)


def _measure_queue(queue: Queue, jobs: int, durability: Durability, environments: Path) -> Figures:
    script = PEERS / queue.script
    python = python_for(script, environments)
    with tempfile.TemporaryDirectory(prefix="tt-bench-") as folder, throwaway_server(durability) as server:
        finish, output = Path(folder, "finish"), Path(folder, "output")
        env = {
            **os.environ,
            **queue.env,
            "PYTHONPATH": str(PEERS),
            "BENCH_URL": server.url,
            "BENCH_JOBS": str(jobs),
            "BENCH_FINISH": str(finish),
        }
        enqueued = figures_of([python, str(script), "enqueue"], env=env, cwd=PEERS, deadline_s=DEADLINE_S)
        with running([python, str(script), "work"], env=env, cwd=PEERS, output=output, patience_s=0) as worker:
            times = json.loads(wait_for_file(finish, worker, deadline_s=DEADLINE_S, output=output))
    process_s = times["done_at"] - times["began_at"]
    return {
        "messages_per_s": jobs / (enqueued["enqueue_s"] + process_s),
        "enqueued_per_s": jobs / enqueued["enqueue_s"],
        "processed_per_s": jobs / process_s,
    }


def _measure_limit(pipeline: int, commands: int, durability: Durability) -> Figures:
    tool = shutil.which("redis-benchmark") or shutil.which("valkey-benchmark")
    if tool is None:
        raise Skipped("neither redis-benchmark nor valkey-benchmark is on PATH (Debian: apt install redis-tools)")
    with throwaway_server(durability) as server:
        what = ("-t", "rpush", "-d", "300", "-n", str(commands), "-c", "20", "-P", str(pipeline), "--csv")
        argv = [tool, "-s", str(server.socket_path), *what]
        answer = subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    found = re.search(r'^"RPUSH","([\d.]+)"', answer.stdout, re.MULTILINE)
    if found is None:
        raise ChildFailed(f"{tool} printed no rate: {answer.stdout[-300:]}{answer.stderr[-300:]}")
    return {"messages_per_s": float(found[1])}


def requirements_of(script: Path) -> tuple[str, ...]:
    """The dependencies that a script declares in its header. Source: PEP 723, inline script metadata."""
    block = re.search(r"^# /// script\n((?:#.*\n)+?)# ///$", script.read_text(), re.MULTILINE)
    if block is None:
        raise ValueError(f"{script.name} has no inline script metadata")
    lines = "\n".join(line.removeprefix("#").removeprefix(" ") for line in block[1].splitlines())
    return tuple(tomllib.loads(lines)["dependencies"])


def python_for(script: Path, environments: Path) -> str:
    """The interpreter of an environment that holds what `script` declares; made on first use, then kept.

    Raises: Skipped when the environment cannot be made, for example without a network.
    """
    home = environments / script.stem
    python, made_for = home / "bin" / "python", home / "made-for"
    requirements = requirements_of(script)
    wanted = "\n".join((sys.version, *requirements))
    if made_for.exists() and made_for.read_text() == wanted:
        return str(python)
    venv.create(home, with_pip=True, clear=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    answer = subprocess.run(install, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise Skipped(f"cannot install {', '.join(requirements)}: {answer.stderr.strip()[-300:]}")
    made_for.write_text(wanted)
    return str(python)
