"""How long commands take as a person types them: whole processes, from their start to their end.

Compared with interpreters that only import click (what any such command pays) and only import trio (what the quick
commands avoid). A round's figure is the median of several starts, since single starts scatter widely.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from .children import ChildFailed, last_line
from .conditions import Conditions
from .measure import Benchmark, Competitor, Figures, Skipped, Wanted
from .towns import TT, empty_directory, environment, town, tt

CLICK, TRIO = "python -c 'import click'", "python -c 'import trio'"


@contextlib.contextmanager
def commands(conditions: Conditions) -> Iterator[Benchmark]:
    """Starts of `tt`'s commands beside bare imports; `tt init` from nothing to a running server."""
    starts = 3 if conditions.quick else 10
    with contextlib.ExitStack() as stack:
        try:
            root, task_id, why_not = *stack.enter_context(_busy_town()), ""
        except (Skipped, ChildFailed) as error:
            root, task_id, why_not = Path(), "", str(error)

        def typed(name: str, *argv: str, in_town: bool = False) -> Competitor:
            def measure() -> Figures:
                if in_town and why_not:
                    raise Skipped(why_not)
                return {"ms": _median_ms(argv, starts, root)}

            return Competitor(name=name, measure=measure)

        quick = (
            typed("tt send", TT, "send", "one", "hello", in_town=True),
            typed("tt status", TT, "status", in_town=True),
            typed("tt inbox", TT, "inbox", "one", in_town=True),
            typed("tt task show", TT, "task", "show", task_id, in_town=True),
        )
        plain = (typed("tt --help", TT, "--help"), typed("tt version", TT, "version"))
        yield Benchmark(
            name="commands",
            title="Commands, from the start of the process to its end",
            figures=("ms", "beyond_start_ms"),
            competitors=(
                typed("python -c pass", sys.executable, "-c", "pass"),
                typed(CLICK, sys.executable, "-c", "import click"),
                typed(TRIO, sys.executable, "-c", "import trio"),
                *plain,
                *quick,
                Competitor(name="tt init", measure=_init, note="until the server answers, in an empty directory"),
            ),
            reference=CLICK,
            wanted=(
                *(_beside(each, CLICK, 2.5) for each in plain),
                # 150 ms where importing trio takes 200 ms.
                *(_beside(each, TRIO, 0.75) for each in quick),
                Wanted(
                    text="tt init beyond tt --help, ms", competitor="tt init", figure="beyond_start_ms", at_most=500
                ),
            ),
            conditions={"a round": f"the median of {starts} starts"},
        )


def _beside(competitor: Competitor, other: str, at_most: float) -> Wanted:
    text = f"{competitor.name} beside {other}"
    return Wanted(text=text, competitor=competitor.name, figure="ms", beside=(other,), at_most=at_most)


@contextlib.contextmanager
def _busy_town() -> Iterator[tuple[Path, str]]:
    """A town with a running kernel, an idle agent `one` and a task; its root and the task's id."""
    with town() as root:
        tt("spawn", "one", "--cli", "shell", cwd=root)
        task_id = tt("assign", "one", "true", cwd=root)["task_id"]
        tt("wait", "one", cwd=root)
        yield root, task_id


def _took_ms(argv: Sequence[str], cwd: Path) -> float:
    began = time.perf_counter()
    answer = subprocess.run(argv, cwd=cwd, env=environment(), capture_output=True, timeout=60, check=False)
    took_ms = (time.perf_counter() - began) * 1000
    if answer.returncode != 0:
        raise ChildFailed(f"{' '.join(argv)} ended with code {answer.returncode}: {last_line(answer.stderr)}")
    return took_ms


def _median_ms(argv: Sequence[str], starts: int, cwd: Path) -> float:
    return statistics.median(_took_ms(argv, cwd) for _ in range(starts))


def _init() -> Figures:
    with empty_directory() as root:
        start_ms = _median_ms((TT, "--help"), 3, root)
        init_ms = _took_ms((TT, "init"), root)
    return {"ms": init_ms, "beyond_start_ms": init_ms - start_ms}
