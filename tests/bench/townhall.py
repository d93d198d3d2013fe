"""The town over HTTP: how soon it answers, how many requests it takes, how soon an event is on a page, what idling costs.

The townhall is a process of its own, as a person starts it; its town has 1,000 agents and 10,000 tasks.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinytown_cli.client import TownClient, open_town_client

from .children import ChildFailed, running
from .conditions import Conditions
from .footprint import PROC, footprint_of
from .measure import Benchmark, Competitor, Figures, Skipped, Wanted
from .towns import TT, environment, town

AGENTS = 1_000
TASKS = 10_000
PAGES = 10
_NAME = "tt townhall"
_READY_S = 60.0
_CONNECTIONS = 8


@contextlib.contextmanager
def townhall(conditions: Conditions) -> Iterator[Benchmark]:
    """Latencies, throughput and idle cost of one townhall of a large town."""
    quick = conditions.quick
    with contextlib.ExitStack() as stack:
        try:
            hall, why_not = stack.enter_context(_served(conditions.amount(TASKS))), ""
        except (Skipped, ChildFailed) as error:
            hall, why_not = None, str(error)

        def measure() -> Figures:
            if hall is None:
                raise Skipped(why_not)
            return {
                "status_p95_ms": _p95([hall.get_ms("/v1/status") for _ in range(10 if quick else 60)]),
                "requests_a_second": hall.rate("/health", 0.5 if quick else 5.0),
                "event_p95_ms": _p95(hall.event_ms(10 if quick else 100)),
                "idle_cpu_percent": hall.idle_percent(1.0 if quick else 20.0),
            }

        yield Benchmark(
            name="townhall",
            title=f"A town of {AGENTS:,} agents and {TASKS:,} tasks over HTTP",
            figures=("status_p95_ms", "requests_a_second", "event_p95_ms", "idle_cpu_percent"),
            competitors=(Competitor(name=_NAME, measure=measure),),
            wanted=(
                Wanted(text="status, p95, ms", competitor=_NAME, figure="status_p95_ms", at_most=50),
                Wanted(text="simple requests a second", competitor=_NAME, figure="requests_a_second", at_least=800),
                Wanted(text="an event at an open page, p95, ms", competitor=_NAME, figure="event_p95_ms", at_most=100),
                Wanted(
                    text="idle with ten pages, % of a core", competitor=_NAME, figure="idle_cpu_percent", at_most=0.5
                ),
            ),
            conditions={"connections": f"{_CONNECTIONS}, kept alive", "pages": f"{PAGES} open streams of /v1/live"},
        )


class _Hall:
    """A served town, by its port and process."""

    def __init__(self, client: TownClient, pid: int, port: int) -> None:
        self._client = client
        self._pid = pid
        self._port = port

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=_READY_S)

    def get_ms(self, path: str) -> float:
        with contextlib.closing(self.connect()) as connection:
            connection.connect()
            began = time.perf_counter()
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise ChildFailed(f"{path} answered {answer.status}")
            return (time.perf_counter() - began) * 1000

    def rate(self, path: str, for_s: float) -> float:
        """Requests a second over some connections."""
        counts = [0] * _CONNECTIONS
        until = time.perf_counter() + for_s

        def ask(number: int) -> None:
            with contextlib.closing(self.connect()) as connection:
                while time.perf_counter() < until:
                    connection.request("GET", path)
                    connection.getresponse().read()
                    counts[number] += 1

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(_CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts) / for_s

    def event_ms(self, count: int) -> list[float]:
        """From the call that changes something to the picture of it at an open page."""
        operations = self._client.operations
        found: list[float] = []
        with self._page() as stream:
            _next(stream)
            for number in range(count):
                task = self._client.run(operations.add_task(f"watched {number}")).task
                began = time.perf_counter()
                while task.id not in {row["id"] for row in _next(stream).get("tasks", ())}:
                    pass
                found.append((time.perf_counter() - began) * 1000)
                time.sleep(0.3)  # events that come one by one are what a person sees
        return found

    def idle_percent(self, for_s: float) -> float:
        """Processor time with ten pages open while nothing happens."""
        if not PROC.exists():
            raise Skipped("processor time is read from /proc, which this system does not have")
        with contextlib.ExitStack() as pages:
            for _ in range(PAGES):
                _next(pages.enter_context(self._page()))
            before, since = footprint_of(self._pid), time.monotonic()
            time.sleep(for_s)  # being idle for so long is what is measured
            return (footprint_of(self._pid).cpu_s - before.cpu_s) / (time.monotonic() - since) * 100

    @contextlib.contextmanager
    def _page(self) -> Iterator[http.client.HTTPResponse]:
        with contextlib.closing(self.connect()) as connection:
            connection.request("GET", "/v1/live")
            yield connection.getresponse()


def _next(stream: http.client.HTTPResponse) -> Any:
    """The next picture of a page's stream."""
    while line := stream.readline():
        if line.startswith(b"data: {"):
            return json.loads(line[6:])
    raise ChildFailed("the stream ended")


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


@contextlib.contextmanager
def _served(tasks: int) -> Iterator[_Hall]:
    with town() as root:
        settings = root / "tinytown.toml"
        limits = 'auth = "none"\nport = 0\nreads_per_minute = 0\nwrites_per_minute = 0\n'
        settings.write_text(f"max_agents = 2000\n{settings.read_text()}\n[plugins.townhall]\n{limits}")
        with open_town_client(root) as client:
            _fill(client, tasks)
            output = root / "townhall.log"
            with running([TT, "townhall", "--json"], env=environment(), cwd=root, output=output) as child:
                yield _Hall(client, child.pid, _port_in(output))


def _fill(client: TownClient, tasks: int) -> None:
    operations = client.operations
    client.run(operations.setup(client.config.server_settings))
    for begin in range(0, AGENTS, 200):
        client.run_all([operations.create_agent(f"agent-{n}", cli="shell") for n in range(begin, begin + 200)])
    for begin in range(0, tasks, 500):
        several = range(begin, min(begin + 500, tasks))
        client.run_all([operations.add_task(f"Task number {n}", agent=f"agent-{n % AGENTS}") for n in several])


def _port_in(output: Path) -> int:
    until = time.monotonic() + _READY_S
    while time.monotonic() < until:
        first = output.read_text().partition(os.linesep)
        if first[1]:
            return int(json.loads(first[0])["url"].rpartition(":")[2])
        time.sleep(0.05)
    raise ChildFailed(f"the townhall did not come up: {output.read_text()[-300:]}")
