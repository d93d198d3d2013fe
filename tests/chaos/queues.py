"""The same harm done to Python's task queues: two workers each, struck like our kernels, with their default settings.

What cannot be compared is left out: they have no needs, no mailboxes and no priorities with an order inside, and a job
is a function in the worker, not a process. What is counted comes from the log that the jobs write themselves.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import trio

from tests.bench.children import ChildFailed, last_line
from tests.bench.queues import python_for

from .stage import LEASE_S, Gate, Server, environment

PEERS = Path(__file__).parent / "peers"

#: Name -> script, and what its makers say of jobs whose worker has died, with the settings that it has by itself.
QUEUES: Mapping[str, tuple[str, str]] = {
    "arq": ("arq_jobs.py", "a job is run again when its time limit of 300 s has passed"),
    "streaq": ("streaq_jobs.py", "jobs of a silent worker are reclaimed by the others"),
    "saq": ("saq_jobs.py", "a sweep aborts or retries jobs that were stuck for longer than their time limit"),
    "dramatiq": ("dramatiq_jobs.py", "jobs of a dead worker come back by chance, in a maintenance run, after a minute"),
    "taskiq-redis": ("taskiq_jobs.py", "the stream's pending jobs are claimed after ten minutes of idleness"),
    "celery": ("celery_jobs.py", "jobs are acknowledged before they run, and so gone with the worker"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFindings:
    """One queue's trial. A job counts as lost when it was not done within `patience_s` after the last fault."""

    name: str
    seed: int
    jobs: int
    lost: int
    done_again: int
    processes_left: int
    patience_s: float
    duration_s: float
    struck: Mapping[str, int]
    takeovers_s: tuple[float, ...]
    never_again: int

    def record(self) -> dict[str, Any]:
        return asdict(self) | {"struck": dict(self.struck)}


@dataclass(frozen=True, slots=True)
class Line:
    word: str
    number: int
    pid: int
    at: float


class Worker:
    """One worker, the process that a person starts, with whatever it starts itself."""

    def __init__(self, python: str, script: Path, gate: Gate, log: Path, home: Path) -> None:
        self.gate = gate
        self._argv = [python, str(script), "work"]
        self._env = environment() | {"CHAOS_SOCKET": str(gate.path), "CHAOS_LOG": str(log), "PYTHONPATH": str(PEERS)}
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None
        self._sessions: list[int] = []

    def keep_running(self) -> None:
        """Start it if it is not running, as a service manager would."""
        if self._process is None or self._process.poll() is not None:
            with open(self._home / "worker.log", "ab") as said:
                self._process = subprocess.Popen(
                    self._argv,
                    cwd=PEERS,
                    env=self._env | {"PYTHONDONTWRITEBYTECODE": "1"},
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    start_new_session=True,
                )
            self._sessions.append(self._process.pid)

    def signal(self, number: int) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, number)
        if number == signal.SIGKILL:
            self._process.wait()

    def freeze(self, number: int) -> None:
        """SIGSTOP or SIGCONT to it and all that it has started: some do their work in children."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def processes(self) -> list[int]:
        """Living processes of its sessions."""
        return [pid for pid, session in _sessions() if session in self._sessions]

    def stop(self, within_s: float = 15.0) -> None:
        """End it as a service manager would, politely and then not."""
        self.signal(signal.SIGTERM)
        assert self._process is not None
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)

    def close(self) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()


class QueueStage:
    """A server, two workers with a gate each, and the log that jobs write."""

    def __init__(self, python: str, script: Path, home: Path) -> None:
        self.log = home / "log"
        self.log.touch()
        (home / "server").mkdir()
        self.server = Server(home / "server")
        self.workers = tuple(
            Worker(python, script, Gate(home / f"{name}.gate", self.server.socket), self.log, home)
            for name in ("first", "second")
        )
        self._give = [python, str(script), "give"]
        self._env = environment() | {"CHAOS_SOCKET": str(self.server.socket), "PYTHONPATH": str(PEERS)}

    def give(self, begin: int, end: int) -> None:
        """Give the queue the jobs with these numbers."""
        argv = [*self._give, str(begin), str(end)]
        answer = subprocess.run(argv, cwd=PEERS, env=self._env, check=False, timeout=60, capture_output=True)
        if answer.returncode != 0:
            raise ChildFailed(f"{argv[1]} ended with code {answer.returncode}: {last_line(answer.stderr)}")

    def lines(self) -> list[Line]:
        """What the jobs have written so far."""
        reported = (line.split() for line in self.log.read_text().splitlines())
        return [Line(word, int(number), int(pid), float(at)) for word, number, pid, at in reported]


@asynccontextmanager
async def open_queue_stage(python: str, script: Path) -> AsyncGenerator[QueueStage]:
    """A running server and two workers; all of it is gone afterwards."""
    home = Path(tempfile.mkdtemp(prefix="tt-chaos-", dir="/tmp")).resolve()
    try:
        stage = QueueStage(python, script, home)
        async with AsyncExitStack() as stack:
            stack.callback(stage.server.close)
            await trio.to_thread.run_sync(stage.server.start)
            nursery = await stack.enter_async_context(trio.open_nursery())
            stack.callback(nursery.cancel_scope.cancel)
            for worker in stage.workers:
                await nursery.start(worker.gate.serve)
                stack.callback(worker.close)
                worker.keep_running()
            yield stage
    finally:
        shutil.rmtree(home, ignore_errors=True)


async def run_queue_trial(
    name: str, seed: int, *, jobs: int, faults: int, patience_s: float, environments: Path
) -> QueueFindings:
    """The same great faults, drawn from the same seed, for one of `QUEUES`. Raises: Skipped when it cannot be installed."""
    script = PEERS / QUEUES[name][0]
    python = await trio.to_thread.run_sync(python_for, script, environments)
    began = trio.current_time()
    chance = random.Random(seed + 1)
    async with open_queue_stage(python, script) as stage:
        await _first_jobs_done(stage)
        given = _WARM_UP
        struck: Counter[str] = Counter()
        blows: list[tuple[float, list[int]]] = []
        turns: list[str] = []
        for number in range(faults):
            upto = _WARM_UP + jobs * (number + 1) // faults
            await trio.to_thread.run_sync(stage.give, given, upto)
            given = upto
            if not turns:
                turns = sorted(_FAULTS)
                chance.shuffle(turns)
            fault = turns.pop()
            struck[fault] += 1
            await _FAULTS[fault](stage, chance, blows)
            for worker in stage.workers:
                worker.keep_running()
        with trio.move_on_after(patience_s):
            while len({line.number for line in stage.lines() if line.word == "done"}) < given:
                for worker in stage.workers:
                    worker.keep_running()
                await trio.sleep(0.1)
        lines = stage.lines()
        for worker in stage.workers:
            await trio.to_thread.run_sync(worker.stop)
        await trio.sleep(1.0)  # what ends a moment after its parent is not left over
        left = sum(len(worker.processes()) for worker in stage.workers)
    done = Counter(line.number for line in lines if line.word == "done")
    takeovers, never = _takeovers(lines, blows)
    return QueueFindings(
        name=name,
        seed=seed,
        jobs=given,
        lost=given - len(done),
        done_again=sum(count - 1 for count in done.values()),
        processes_left=left,
        patience_s=patience_s,
        duration_s=trio.current_time() - began,
        struck=struck,
        takeovers_s=tuple(takeovers),
        never_again=never,
    )


_WARM_UP = 10
_UP_S = 60.0


async def _first_jobs_done(stage: QueueStage) -> None:
    """Wait until both workers are up, as far as a few jobs can tell, so that no fault strikes one that still starts."""
    await trio.to_thread.run_sync(stage.give, 0, _WARM_UP)
    with trio.fail_after(_UP_S):
        while len({line.number for line in stage.lines() if line.word == "done"}) < _WARM_UP:  # noqa: ASYNC110
            await trio.sleep(0.1)
    await trio.sleep(2.0)


Blows = list[tuple[float, list[int]]]


async def _kill(stage: QueueStage, chance: random.Random, blows: Blows) -> None:
    worker = chance.choice(stage.workers)
    await trio.sleep(chance.uniform(0.0, 0.3))
    blows.append((time.monotonic(), worker.processes()))
    await trio.to_thread.run_sync(worker.signal, signal.SIGKILL)
    await trio.sleep(LEASE_S)


async def _freeze(stage: QueueStage, chance: random.Random, blows: Blows) -> None:
    worker = chance.choice(stage.workers)
    await trio.sleep(chance.uniform(0.0, 0.3))
    blows.append((time.monotonic(), worker.processes()))
    worker.freeze(signal.SIGSTOP)
    await trio.sleep(LEASE_S * chance.uniform(1.5, 2.5))
    worker.freeze(signal.SIGCONT)


async def _cut_off(stage: QueueStage, chance: random.Random, blows: Blows) -> None:
    worker = chance.choice(stage.workers)
    await trio.sleep(chance.uniform(0.0, 0.3))
    worker.gate.shut(chance.choice(["refused", "silent"]))
    await trio.sleep(LEASE_S * chance.uniform(1.5, 2.5))
    worker.gate.open_again()


async def _kill_server(stage: QueueStage, chance: random.Random, blows: Blows) -> None:
    await trio.to_thread.run_sync(stage.server.kill)
    await trio.sleep(chance.choice([0.0, 0.3, 1.5 * LEASE_S]))
    await trio.to_thread.run_sync(stage.server.start)


async def _freeze_server(stage: QueueStage, chance: random.Random, blows: Blows) -> None:
    stage.server.freeze()
    await trio.sleep(LEASE_S * chance.uniform(0.3, 2.0))
    stage.server.thaw()


async def _fill_disk(stage: QueueStage, chance: random.Random, blows: Blows) -> None:
    stage.server.fill_disk()
    await trio.sleep(LEASE_S * chance.uniform(0.3, 2.0))
    stage.server.clear_disk()
    await trio.sleep(1.5)  # the server looks once a second whether it can write again; until then it refuses new jobs


_FAULTS: Mapping[str, Callable[[QueueStage, random.Random, Blows], Awaitable[None]]] = {
    "worker killed": _kill,
    "worker frozen": _freeze,
    "worker cut off": _cut_off,
    "server killed": _kill_server,
    "server frozen": _freeze_server,
    "disk full": _fill_disk,
}


def _takeovers(lines: list[Line], blows: Blows) -> tuple[list[float], int]:
    """From each blow to a worker until each job that it was at went on, here or elsewhere; and how many never did."""
    times: list[float] = []
    never = 0
    for at, pids in blows:
        begun = {line.number for line in lines if line.word == "begun" and line.at < at and line.pid in pids}
        begun -= {line.number for line in lines if line.word == "done" and line.at < at}
        for number in begun:
            later = [line.at - at for line in lines if line.number == number and line.at > at]
            if later:
                times.append(min(later))
            else:
                never += 1
    return times, never


def _sessions() -> list[tuple[int, int]]:
    """Each living process with its session."""
    found: list[tuple[int, int]] = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(OSError):
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
                if fields[0] not in "ZX":
                    found.append((int(name), int(fields[3])))
    return found
