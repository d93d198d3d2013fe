"""How long commands take as a person types them: whole processes, from their start to their end.

Compared with interpreters that only import click, which is what any such command pays. A round's figure is the median of
several starts, since single starts scatter widely.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tinytown_cli.client import open_town_client

from .children import ChildFailed, last_line
from .conditions import Conditions
from .measure import Benchmark, Competitor, Figures, Skipped, Wanted
from .towns import TT, empty_directory, environment, town, tt

CLICK = "python -c 'import click'"
AGENTS = 100


@contextlib.contextmanager
def commands(conditions: Conditions) -> Iterator[Benchmark]:
    """Starts of `tt`'s commands beside a bare import; `tt init` from nothing to a running server."""
    starts = 3 if conditions.quick else 10
    with contextlib.ExitStack() as stack:
        try:
            root, why_not = stack.enter_context(_busy_town()), ""
        except (Skipped, ChildFailed) as error:
            root, why_not = Path(), str(error)

        def typed(name: str, *argv: str) -> Competitor:
            return Competitor(name=name, measure=lambda: {"ms": _median_ms(lambda: argv, starts, root)})

        def in_town(words: Callable[[], Sequence[str]], name: str) -> Competitor:
            def measure() -> Figures:
                if why_not:
                    raise Skipped(why_not)
                return {"ms": _median_ms(lambda: [TT, *words()], starts, root)}

            return Competitor(name=f"tt {name}", measure=measure)

        def new_task() -> str:
            return str(tt("assign", "one", "true", cwd=root)["task_id"])

        quick = (
            in_town(lambda: ("send", "one", "hello"), "send"),
            in_town(lambda: ("assign", "one", "true"), "assign"),
            in_town(lambda: ("inbox", "supervisor"), "inbox"),
            in_town(lambda: ("task", "show", new_task()), "task show"),
            in_town(lambda: ("task", "complete", new_task()), "task complete"),
        )
        with_agents = (
            in_town(lambda: ("status",), f"status, {AGENTS} agents"),
            in_town(lambda: ("list",), f"list, {AGENTS} agents"),
        )
        plain = (typed("tt --help", TT, "--help"), typed("tt version", TT, "version"))
        yield Benchmark(
            name="commands",
            title="Commands, from the start of the process to its end",
            figures=("ms", "beyond_start_ms"),
            competitors=(
                typed("python -c pass", sys.executable, "-c", "pass"),
                typed(CLICK, sys.executable, "-c", "import click"),
                *plain,
                *quick,
                *with_agents,
                Competitor(name="tt init", measure=_init, note="until the server answers, in an empty directory"),
            ),
            reference=CLICK,
            wanted=(
                *(_beside_click(each, 1.25) for each in (*plain, *quick)),
                *(_beside_click(each, 1.5) for each in with_agents),
                Wanted(
                    text="tt init beyond tt --help, ms", competitor="tt init", figure="beyond_start_ms", at_most=500
                ),
            ),
            conditions={"a round": f"the median of {starts} starts"},
        )


def _beside_click(competitor: Competitor, at_most: float) -> Wanted:
    text = f"{competitor.name} beside {CLICK}"
    return Wanted(text=text, competitor=competitor.name, figure="ms", beside=(CLICK,), at_most=at_most)


@contextlib.contextmanager
def _busy_town() -> Iterator[Path]:
    """A town of many agents with a running kernel, all idle: `one`, who gets the work, is paused, the others are stopped."""
    with town() as root:
        tt("spawn", "one", "--cli", "shell", cwd=root)
        tt("interrupt", "one", cwd=root)
        with open_town_client(root) as client:
            names = [f"other-{number}" for number in range(AGENTS - 1)]
            client.run_all([client.operations.create_agent(name, cli="shell") for name in names])
            client.run_all([client.operations.set_desired_state(name, "stopped") for name in names])
        time.sleep(2.5)  # what changed in the last 2 s is not remembered between commands
        yield root


def _took_ms(argv: Sequence[str], cwd: Path) -> float:
    began = time.perf_counter()
    answer = subprocess.run(argv, cwd=cwd, env=environment(), capture_output=True, timeout=60, check=False)
    took_ms = (time.perf_counter() - began) * 1000
    if answer.returncode != 0:
        raise ChildFailed(f"{' '.join(argv)} ended with code {answer.returncode}: {last_line(answer.stderr)}")
    return took_ms


def _median_ms(argv: Callable[[], Sequence[str]], starts: int, cwd: Path) -> float:
    return statistics.median(_took_ms(argv(), cwd) for _ in range(starts))


def _init() -> Figures:
    with empty_directory() as root:
        start_ms = _median_ms(lambda: (TT, "--help"), 3, root)
        init_ms = _took_ms((TT, "init"), root)
    return {"ms": init_ms, "beyond_start_ms": init_ms - start_ms}
