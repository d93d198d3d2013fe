"""What reading a coding CLI costs its kernel: how soon its last line is a stored outcome, and whether others wait meanwhile.

A whole town runs in this process; in place of the CLI is a small program that prints records as Claude Code prints them, and
in its last the time at which it does. What the real ones take by themselves is not measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import tinytown
import trio
from tinytown.state import state_directory
from tinytown_server.server import EmbeddedServer

from .conditions import Conditions
from .measure import Benchmark, Competitor, Figures, Wanted

AGENTS = 20
TICK_S = 0.002
BARE = "the program alone"
DEADLINE_S = 120.0

#: Prints FILE's lines evenly over SECONDS, then the record that ends a run.
PROGRAM = """
import os, sys, time
lines = open(sys.argv[1], "rb").read().splitlines(keepends=True)
seconds = float(sys.argv[2])
while os.read(0, 65536): pass
began = time.monotonic()
step = max(1, len(lines) // max(1, int(seconds * 20))) if seconds else max(1, len(lines))
for n in range(0, len(lines), step):
    chunk = memoryview(b"".join(lines[n:n + step]))
    while chunk: chunk = chunk[os.write(1, chunk):]
    if seconds: time.sleep(max(0.0, began + seconds * (n + step) / len(lines) - time.monotonic()))
last = '{"type": "result", "subtype": "success", "is_error": false, "result": "%d"}'
os.write(1, (last % time.time_ns()).encode() + b"\\n")
os._exit(0)
"""


@contextlib.contextmanager
def adapters(conditions: Conditions) -> Iterator[Benchmark]:
    """One agent that says little, one that says a megabyte at once, and twenty that stream a megabyte each."""
    seconds = 1.0 if conditions.quick else 10.0
    little, much, many = "1 agent, 1 line", "1 agent, 1 MB at once", f"{AGENTS} agents, 1 MB each in {seconds:g} s"
    yield Benchmark(
        name="adapters",
        title="Rounds of a coding CLI in one kernel",
        figures=("end_ms", "slowest_end_ms", "hold_ms", "cpu_percent", "took_s"),
        reference=BARE,
        competitors=(
            Competitor(name=BARE, measure=lambda: trio.run(_bare), note="trio.run_process: no kernel, no server"),
            Competitor(name=little, measure=lambda: trio.run(_rounds, 1, 0, 0.0)),
            Competitor(name=much, measure=lambda: trio.run(_rounds, 1, 1_000, 0.0)),
            Competitor(name=many, measure=lambda: trio.run(_rounds, AGENTS, 1_000, seconds)),
        ),
        wanted=(
            Wanted(text="last line to stored outcome, ms", competitor=little, figure="end_ms", at_most=20),
            Wanted(text="longest time that nobody else got, ms", competitor=much, figure="hold_ms", at_most=20),
            Wanted(text="processor time of the kernel, %", competitor=many, figure="cpu_percent", at_most=100),
        ),
        conditions={
            "end_ms": "from the CLI's writing of its last line to the completed task's reaching who waits for it, p50",
            "hold_ms": f"most processor time of the process between two turns of a task that wakes every {TICK_S * 1000:g} ms",
            "cpu_percent": "of one core, of the process with kernel and waiting program, without server and CLIs",
        },
    )


async def _rounds(agents: int, lines: int, seconds: float) -> Figures:
    """One round of each agent, all at once."""
    ends_ms: list[float] = []
    with trio.fail_after(DEADLINE_S), _town(lines, seconds) as root:
        async with tinytown.open_town(root) as town, trio.open_nursery() as nursery:
            ticker = _Ticker()
            handles = [await town.spawn(f"agent-{number}", cli="claude") for number in range(agents)]
            await town.wait_for_idle()
            nursery.start_soon(ticker.tick)

            async def work(number: int) -> None:
                task = await handles[number].assign("count")
                done = await town.wait_for_task(task.id)
                ends_ms.append((time.time_ns() - int(done.result or 0)) / 1e6)

            began, cpu_began = time.monotonic(), time.process_time()
            async with trio.open_nursery() as working:
                for number in range(agents):
                    working.start_soon(work, number)
            took_s, cpu_s = time.monotonic() - began, time.process_time() - cpu_began
            nursery.cancel_scope.cancel()
    return {
        "end_ms": statistics.median(ends_ms),
        "slowest_end_ms": max(ends_ms),
        "hold_ms": ticker.longest_s * 1000,
        "cpu_percent": cpu_s / took_s * 100,
        "took_s": took_s,
    }


async def _bare() -> Figures:
    """The same program without a town: from its last line to the end of waiting for it."""
    with trio.fail_after(DEADLINE_S), _town(0, 0.0) as root:
        began = time.monotonic()
        command = [sys.executable, "-S", "-I", str(root / "program.py"), str(root / "lines"), "0"]
        done = await trio.run_process(command, stdin=b"", capture_stdout=True)
        ended_ns = time.time_ns()
    said = json.loads(done.stdout.splitlines()[-1])["result"]
    return {"end_ms": (ended_ns - int(said)) / 1e6, "took_s": time.monotonic() - began}


class _Ticker:
    """A task that wants its turn again and again. Processor time and not the clock's: other work on the machine is no fault
    of the kernel's."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def tick(self) -> None:
        while True:
            before = time.process_time()
            await trio.sleep(TICK_S)
            self.longest_s = max(self.longest_s, time.process_time() - before)


@contextlib.contextmanager
def _town(lines: int, seconds: float) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tt-bench-", dir="/tmp" if os.access("/tmp", os.W_OK) else None) as name:
        root = Path(name)
        record = '{"type": "assistant", "message": {"content": [{"type": "text", "text": "%s"}]}}\n' % ("x" * 940)
        (root / "lines").write_text(record * lines)
        (root / "program.py").write_text(PROGRAM)
        command = [sys.executable, "-S", "-I", str(root / "program.py"), str(root / "lines"), str(seconds)]
        (root / "tinytown.toml").write_text(
            f'name = "bench"\n[plugins.claude]\ncommand = {command!r}\ntown_tools = false\nresume = false\n'
        )
        try:
            yield root
        finally:
            EmbeddedServer(state_directory(root)).stop()
