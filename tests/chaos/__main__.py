"""The chaos session's command line: seeds, how much work, how many faults, which peers. See `--help`."""

from __future__ import annotations

import datetime
import functools
import json
import sys
from pathlib import Path
from typing import Any

import click
import trio

from tests.bench.children import ChildFailed
from tests.bench.measure import Skipped, machine

from .findings import Findings
from .queues import QUEUES, QueueFindings, run_queue_trial
from .report import queue_table, town_table
from .trial import run_trial

REPOSITORY = Path(__file__).resolve().parents[2]
_SECONDS_A_FAULT = 20.0


@click.command()
@click.option("--seeds", type=click.IntRange(min=0), default=20, show_default=True, help="How many trials.")
@click.option("--first-seed", type=int, default=1, show_default=True, help="The seed of the first; the rest count up.")
@click.option("--tasks", type=click.IntRange(min=1), default=1000, show_default=True, help="Tasks a trial.")
@click.option("--faults", type=click.IntRange(min=1), default=12, show_default=True, help="Great faults a trial.")
@click.option("--peers", is_flag=True, help="Do the same to Python's task queues, each in an environment of its own.")
@click.option("--only", type=click.Choice(tuple(QUEUES)), multiple=True, help="Of the queues, these; may be repeated.")
@click.option("--peer-seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Trials for each queue.")
@click.option(
    "--patience",
    "patience_s",
    type=float,
    default=60.0,
    show_default=True,
    help="How long a queue may take to recover.",
)
@click.option(
    "--environments",
    type=click.Path(file_okay=False, path_type=Path),
    default=REPOSITORY / ".nox" / "chaos-peers",
    help="Where the queues' own environments are kept.",
)
def main(
    seeds: int,
    first_seed: int,
    tasks: int,
    faults: int,
    peers: bool,
    only: tuple[str, ...],
    peer_seeds: int,
    patience_s: float,
    environments: Path,
) -> None:
    """Run towns and destroy them, print what became of their work, and keep it as JSON in bench-results/.

    The exit code is 1 when a promise was broken.
    """
    towns: list[Findings] = []
    queues: list[QueueFindings] = []
    for seed in range(first_seed, first_seed + seeds):
        deadline_s = 60.0 + tasks / 5 + faults * _SECONDS_A_FAULT
        trial = functools.partial(run_trial, seed, tasks=tasks, faults=faults, deadline_s=deadline_s)
        towns.append(trio.run(trial))
        print(town_table(towns)[len(towns)], flush=True)
        for name, what in towns[-1].broken.items():
            print(f"  {name}: {what[:10]}", flush=True)
        for history in towns[-1].histories:
            print("", *history, sep="\n    ", flush=True)
    for name in (only or QUEUES) if peers or only else ():
        for seed in range(first_seed, first_seed + peer_seeds):
            job = functools.partial(
                run_queue_trial,
                name,
                seed,
                jobs=tasks,
                faults=faults,
                patience_s=patience_s,
                environments=environments,
            )
            try:
                queues.append(trio.run(job))
            except (Skipped, ChildFailed) as reason:
                print(f"left out: {name}: {reason}")
                break
            print(f"{name}: seed {seed} took {queues[-1].duration_s:.0f} s", flush=True)
    print("\n" + "\n".join(town_table(towns)))
    if queues:
        print("\n" + "\n".join(queue_table(queues)))
        for name in dict.fromkeys(each.name for each in queues):
            print(f"  {name}: {QUEUES[name][1]}")
    print(f"\nkept in {_keep(towns, queues)}")
    sys.exit(1 if any(each.broken for each in towns) else 0)


def _keep(towns: list[Findings], queues: list[QueueFindings]) -> Path:
    folder = REPOSITORY / "bench-results"
    folder.mkdir(exist_ok=True)
    path = folder / f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}-chaos.json"
    whole: dict[str, Any] = {
        "machine": machine(),
        "towns": [each.record() for each in towns],
        "queues": [each.record() for each in queues],
    }
    path.write_text(json.dumps(whole, indent=1) + "\n")
    return path


if __name__ == "__main__":
    main()
