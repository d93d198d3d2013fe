"""The endurance session's command line. See `--help`."""

from __future__ import annotations

import datetime
import functools
import json
import sys
from pathlib import Path

import click
import trio

from tests.bench.measure import machine
from tests.real_clis.clis import DIRECTORIES_VARIABLE

from .findings import Findings, report
from .seats import SEATS, installed_seats
from .trial import BRISK, STEADY, run_trial

REPOSITORY = Path(__file__).resolve().parents[2]
#: At the end nothing is struck, for so long at most: an account may be parked for five minutes.
_PEACE_S = 600.0
_STEADY_FROM = 20.0  # minutes


@click.command()
@click.option("--minutes", type=click.FloatRange(min=1), default=60.0, show_default=True, help="How long, in all.")
@click.option("--seed", type=int, default=1, show_default=True, help="What is given and what is struck.")
@click.option("--only", type=click.Choice([seat.kind for seat in SEATS]), multiple=True, help="Of the CLIs, these.")
@click.option("--keep", is_flag=True, help="Leave the town's directory where it is, with all that was counted.")
def main(minutes: float, seed: int, only: tuple[str, ...], keep: bool) -> None:
    """Have real coding CLIs work through outages and kills, print what was found, and keep it as JSON in bench-results/.

    The CLIs are looked for in TINYTOWN_REAL_CLIS. The exit code is 1 when a promise was broken, 2 when there is no CLI.
    """
    seats = tuple(seat for seat in installed_seats() if not only or seat.kind in only)
    if not seats:
        print(f"no CLI: set {DIRECTORIES_VARIABLE} to the directories that hold some", file=sys.stderr)
        sys.exit(2)
    print(f"seed {seed}, {minutes:g} minutes: {', '.join(f'{seat.name} is {seat.kind}' for seat in seats)}", flush=True)
    peace_s = min(_PEACE_S, minutes * 60 / 2)
    pace = STEADY if minutes >= _STEADY_FROM else BRISK
    say = functools.partial(print, flush=True)
    trial = functools.partial(
        run_trial, seed, seats, harm_s=minutes * 60 - peace_s, peace_s=peace_s, pace=pace, keep=keep, say=say
    )
    found = trio.run(trial)
    print("\n".join(report(found)))
    print(f"\nkept in {_keep(found)}")
    sys.exit(1 if found.broken else 0)


def _keep(found: Findings) -> Path:
    folder = REPOSITORY / "bench-results"
    folder.mkdir(exist_ok=True)
    path = folder / f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}-endurance.json"
    path.write_text(json.dumps({"machine": machine(), **found.record()}, indent=1) + "\n")
    return path


if __name__ == "__main__":
    main()
