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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import trio
from tinytown.config import load_config
from tinytown.state import state_directory
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
    """From `tt send`, and from a program's `Town.send`, to the first thing that the agent's process does."""
    sends = conditions.amount(200) // 10
    with contextlib.ExitStack() as stack:
        try:
            ringer, why_not = stack.enter_context(_ringing_town()), ""
        except (Skipped, ChildFailed) as error:
            ringer, why_not = None, str(error)

        def median_of(measure: Callable[[Ringer], list[float]]) -> Callable[[], Figures]:
            def figures() -> Figures:
                if ringer is None:
                    raise Skipped(why_not)
                start_ms = statistics.median(_command_to_line_ms(ringer, ringer.command) for _ in range(sends))
                line_ms = statistics.median(measure(ringer))
                return {"beyond_start_ms": line_ms - start_ms, "line_ms": line_ms, "process_start_ms": start_ms}

            return figures

        typed, called = "tt send", "Town.send in a program"
        yield Benchmark(
            name="wakeup",
            title="From sending a message to the first line of the idle agent's process",
            figures=("beyond_start_ms", "line_ms", "process_start_ms"),
            competitors=(
                Competitor(
                    name=typed, measure=median_of(lambda found: _typed(found, sends)), note="as a whole process"
                ),
                Competitor(name=called, measure=median_of(lambda found: trio.run(_called, found, sends))),
            ),
            wanted=(
                Wanted(
                    text="tt send, p50 beyond the agent's start, ms",
                    competitor=typed,
                    figure="beyond_start_ms",
                    at_most=100,
                ),
            ),
            conditions={"a round": f"medians of {sends} sends", "beyond_start_ms": "line_ms less process_start_ms"},
        )


def _idle(watched_s: float) -> Figures:
    if not PROC.exists():
        raise Skipped("memory and processor time are read from /proc, which this system does not have")
    with town() as root, kernel(root) as pid:
        empty = footprint_of(pid)
        began = time.monotonic()
        trio.run(_register, root)
        registered_s = time.monotonic() - began
        server_pid = int((state_directory(root) / "redis.pid").read_text())
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


@dataclass(frozen=True, slots=True)
class Ringer:
    """A town with a running kernel and an idle agent `one`, whose process does nothing but write a line to a pipe."""

    root: Path
    command: tuple[str, ...]
    pipe: IO[bytes]

    def await_line(self) -> None:
        """Wait for the line. Raises: ChildFailed when it has not come after 30 s."""
        ready, _, _ = select.select([self.pipe], [], [], 30.0)
        if not ready or not self.pipe.read(64):
            raise ChildFailed("the agent's process wrote no line within 30 s")


@contextlib.contextmanager
def _ringing_town() -> Iterator[Ringer]:
    with town() as root:
        path = root / "bell"
        os.mkfifo(path)
        command = ("sh", "-c", f"echo up > '{path}'")
        with (root / "tinytown.toml").open("a") as config:
            config.write(f"\n[agent_clis.ringer]\ncommand = {list(command)!r}\n")
        # Open for writing as well, so that it never reads as ended between two processes.
        with kernel(root), open(os.open(path, os.O_RDWR), "rb", buffering=0) as pipe:
            tt("spawn", "one", "--cli", "ringer", cwd=root)
            tt("wait", "one", cwd=root)
            yield Ringer(root, command, pipe)


def _command_to_line_ms(ringer: Ringer, argv: Sequence[str]) -> float:
    """Milliseconds from the start of a command to the line."""
    began = time.perf_counter()
    child = subprocess.Popen(
        argv,
        cwd=ringer.root,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        ringer.await_line()
        line_ms = (time.perf_counter() - began) * 1000
        child.wait(30)
    finally:
        child.kill()
        child.wait()
    return line_ms


def _typed(ringer: Ringer, sends: int) -> list[float]:
    lines_ms: list[float] = []
    for _ in range(sends):
        lines_ms.append(_command_to_line_ms(ringer, (TT, "send", "one", "hello")))
        tt("wait", "one", cwd=ringer.root)
    return lines_ms


async def _called(ringer: Ringer, sends: int) -> list[float]:
    lines_ms: list[float] = []
    with trio.fail_after(DEADLINE_S):
        async with connect_town(ringer.root, load_config(ringer.root)) as connected:
            for _ in range(sends):
                began = time.perf_counter()
                await connected.send("one", "hello")
                ringer.await_line()  # blocks: there is nothing else to do here
                lines_ms.append((time.perf_counter() - began) * 1000)
                await connected.wait_for_idle("one")
    return lines_ms
