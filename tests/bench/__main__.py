"""The benchmarks' command line: which ones, how many rounds, where the figures go. See `--help`."""

from __future__ import annotations

import fnmatch
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from .adapters import adapters
from .agents import idle, wakeup
from .beads import beads
from .commands import commands
from .conditions import REPOSITORY, Conditions
from .latency import latency
from .mailbox import mailbox
from .measure import Benchmark, keep, print_table, record, run_rounds
from .server import Durability, server_version
from .townhall import townhall
from .worktrees import worktrees

BENCHMARKS: dict[str, Callable[[Conditions], AbstractContextManager[Benchmark]]] = {
    "mailbox": mailbox,
    "latency": latency,
    "commands": commands,
    "wakeup": wakeup,
    "idle": idle,
    "beads": beads,
    "adapters": adapters,
    "townhall": townhall,
    "git": worktrees,
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(tuple(BENCHMARKS)))
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Rounds per competitor.")
@click.option("--quick", is_flag=True, help="One round with a tenth of the work: does it run at all?")
@click.option("--only", multiple=True, metavar="GLOB", help="Competitors to run, by name; may be repeated.")
@click.option(
    "--durability",
    type=click.Choice(("safe", "fast", "none")),
    default="safe",
    show_default=True,
    help="What mailbox and latency have the server do: sync every write, sync once a second, keep nothing.",
)
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the records here too."
)
@click.option(
    "--environments",
    type=click.Path(file_okay=False, path_type=Path),
    default=REPOSITORY / ".nox" / "bench-peers",
    help="Where the peers' own environments are kept.",
)
def main(
    names: tuple[str, ...],
    rounds: int,
    quick: bool,
    only: tuple[str, ...],
    durability: Durability,
    json_file: Path | None,
    environments: Path,
) -> None:
    """Run the benchmarks NAMES (default: all), print tables, and keep all rounds as JSON in bench-results/."""
    # So that being asked to end runs every `finally`: servers and workers are ended with us.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    state_home = tempfile.TemporaryDirectory(prefix="tt-bench-state-")
    os.environ["XDG_STATE_HOME"] = state_home.name  # benchmarks leave no state of towns behind
    conditions = Conditions(durability=durability, quick=quick, environments=environments)
    stated = {
        "server": server_version(),
        "durability": durability,
        "rounds": str(1 if quick else rounds),
        "quick": str(quick).lower(),
    }
    print(", ".join(f"{key}: {value}" for key, value in stated.items()))
    records: list[dict[str, Any]] = []
    for name in names or tuple(BENCHMARKS):
        with BENCHMARKS[name](conditions) as whole:
            benchmark = chosen(whole, only)
            if benchmark.competitors:
                outcome = run_rounds(benchmark, 1 if quick else rounds)
                print_table(outcome)
                records.append(record(outcome, stated))
    if not records:
        raise click.UsageError("no competitor of that name")
    if json_file is not None:
        json_file.write_text(json.dumps(records, indent=1) + "\n")
    print(f"\nkept in {keep(records, REPOSITORY / 'bench-results')}")


def chosen(benchmark: Benchmark, only: tuple[str, ...]) -> Benchmark:
    """`benchmark` with those competitors whose names match one of the patterns `only`, or all where there is none."""
    if not only:
        return benchmark
    kept = (each for each in benchmark.competitors if any(fnmatch.fnmatch(each.name, glob) for glob in only))
    return replace(benchmark, competitors=tuple(kept))


if __name__ == "__main__":
    sys.exit(main())
