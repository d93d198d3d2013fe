"""What a town of many idle agents costs, and how soon an agent works once it is spoken to.

Agents are made over one connection, as a program would; everything else happens as a person does it, with `tt`.
Memory and processor time are read from /proc, so that part is left out on other systems than Linux.
"""

from __future__ import annotations

import contextlib
import os
import select
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import trio
from tinytown.config import load_config
from tinytown.town import connect_town

from .children import ChildFailed, last_line, running
from .conditions import Conditions
from .footprint import PROC, footprint_of
from .measure import Benchmark, Competitor, Figures, Skipped, Wanted
from .towns import TT, environment, town, tt

AGENTS = 1_000
DEADLINE_S = 120.0


@contextlib.contextmanager
def idle(conditions: Conditions) -> Iterator[Benchmark]:
    """One kernel with 1,000 idle shell agents: what they add to an empty one, and what idling costs."""
    name = f"kernel, {AGENTS:,} idle agents"
    watched_s = 5.0 if conditions.quick else 60.0
    yield Benchmark(
        name="idle",
        title="Idle agents of kind shell in one kernel",
        figures=("cpu_percent", "server_cpu_percent", "rss_mib", "empty_rss_mib", "kb_per_agent", "registered_s"),
        competitors=(Competitor(name=name, measure=lambda: _idle(watched_s)),),
        wanted=(
            Wanted(text="processor time, % of a core", competitor=name, figure="cpu_percent", at_most=1),
            Wanted(text="memory an agent, kB", competitor=name, figure="kb_per_agent", at_most=60),
        ),
        conditions={"a round": f"watched for {watched_s:g} s; memory and time of the kernel and its descendants"},
    )


@contextlib.contextmanager
def wakeup(conditions: Conditions) -> Iterator[Benchmark]:
    """From `tt send` to the first thing that the agent's process does."""
    sends = conditions.amount(200) // 10
    name = "tt send to first line"
    yield Benchmark(
        name="wakeup",
        title="From `tt send` to the first line of the agent's process",
        figures=("beyond_start_ms", "from_command_ms", "command_ms", "process_start_ms"),
        competitors=(Competitor(name=name, measure=lambda: _wakeup(sends)),),
        wanted=(
            Wanted(
                text="p50 beyond the process's own start, ms", competitor=name, figure="beyond_start_ms", at_most=100
            ),
        ),
        conditions={
            "a round": f"medians of {sends} sends to an idle agent",
            "beyond_start_ms": "from the start of `tt send` to the agent's first line, less process_start_ms",
        },
    )


def _idle(watched_s: float) -> Figures:
    if not PROC.exists():
        raise Skipped("memory and processor time are read from /proc, which this system does not have")
    with town() as root, kernel(root) as pid:
        empty = footprint_of(pid)
        began = time.monotonic()
        trio.run(_register, root)
        registered_s = time.monotonic() - began
        server_pid = int((root / ".tt" / "redis.pid").read_text())
        before, server_before, since = footprint_of(pid), footprint_of(server_pid), time.monotonic()
        time.sleep(watched_s)  # being idle for so long is what is measured
        after, server_after, took_s = footprint_of(pid), footprint_of(server_pid), time.monotonic() - since
    return {
        "cpu_percent": (after.cpu_s - before.cpu_s) / took_s * 100,
        "server_cpu_percent": (server_after.cpu_s - server_before.cpu_s) / took_s * 100,
        "rss_mib": after.rss_bytes / 2**20,
        "empty_rss_mib": empty.rss_bytes / 2**20,
        "kb_per_agent": (after.rss_bytes - empty.rss_bytes) / AGENTS / 1000,
        "registered_s": registered_s,
    }


async def _register(root: Path) -> None:
    """Make the agents and wait until the kernel has taken up every one of them."""
    with trio.fail_after(DEADLINE_S):
        async with connect_town(root, load_config(root)) as connected:
            for number in range(AGENTS):
                await connected.spawn(f"agent-{number}", cli="shell")
            await connected.wait_until(
                connected.agents, lambda agents: len(agents) == AGENTS and all(a.state == "idle" for a in agents)
            )


@contextlib.contextmanager
def kernel(root: Path) -> Iterator[int]:
    """The town's kernel in the foreground of a child; its process id, once it says that it runs."""
    output = root / "kernel.log"
    with running([TT, "start"], env=environment(), cwd=root, output=output) as child:
        until = time.monotonic() + 30
        while not tt("status", cwd=root)["kernel"]["running"]:
            if child.poll() is not None or time.monotonic() > until:
                raise ChildFailed(f"the kernel did not come up: {last_line(output.read_bytes())}")
            time.sleep(0.05)
        yield child.pid


def _first_line_ms(argv: Sequence[str], rung: IO[bytes]) -> tuple[float, float]:
    """Milliseconds from the start of a command to the line that comes through the pipe, and to the command's end."""
    began = time.perf_counter()
    child = subprocess.Popen(
        argv, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        ready, _, _ = select.select([rung], [], [], 30.0)
        line_ms = (time.perf_counter() - began) * 1000
        if not ready or not rung.read(64):
            raise ChildFailed(f"{argv[0]} brought no line within 30 s")
        child.wait(30)
    finally:
        child.kill()
        child.wait()
    return line_ms, (time.perf_counter() - began) * 1000


def _wakeup(sends: int) -> Figures:
    with town() as root:
        bell = root / "bell"
        os.mkfifo(bell)
        ring = ["sh", "-c", f"echo up > '{bell}'"]
        with (root / "tinytown.toml").open("a") as config:
            config.write(f"\n[agent_clis.ringer]\ncommand = {ring!r}\n")
        with kernel(root), open(os.open(bell, os.O_RDWR), "rb", buffering=0) as rung:
            tt("spawn", "one", "--cli", "ringer", cwd=root)
            tt("wait", "one", cwd=root)
            starts_ms, commands_ms, lines_ms = [], [], []
            for _ in range(sends):
                starts_ms.append(_first_line_ms(ring, rung)[0])
                line_ms, command_ms = _first_line_ms([TT, "send", "one", "hello"], rung)
                lines_ms.append(line_ms)
                commands_ms.append(command_ms)
                tt("wait", "one", cwd=root)
    from_command_ms, process_start_ms = statistics.median(lines_ms), statistics.median(starts_ms)
    return {
        "beyond_start_ms": from_command_ms - process_start_ms,
        "from_command_ms": from_command_ms,
        "command_ms": statistics.median(commands_ms),
        "process_start_ms": process_start_ms,
    }
