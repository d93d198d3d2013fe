"""Scores prompts: what they cost, and what of the required points is missing. See `--help`."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Mapping
from typing import Any

import click
import trio

from tests.bench.measure import keep, machine
from tests.evals.cases import CASES, Case
from tests.evals.rounds import as_record, is_there, repository, score_cli
from tests.evals.score import Score
from tests.real_clis.clis import DIRECTORIES_VARIABLE, REAL_CLIS
from tests.real_clis.conftest import version_of

_COLUMNS = ("added_characters", "added_tokens", "tool_tokens", "mean_sentence_words", "longest_sentence_words")


@click.command()
@click.argument("kinds", nargs=-1, type=click.Choice([cli.kind for cli in REAL_CLIS]))
@click.option(
    "--case", "names", multiple=True, type=click.Choice([case.name for case in CASES]), help="Only this case."
)
def main(kinds: tuple[str, ...], names: tuple[str, ...]) -> None:
    """Score the prompts of agents of KINDS (default: all), and keep the scores as JSON in bench-results/.

    A CLI that is in one of the directories of TINYTOWN_REAL_CLIS is run against a scripted model server, and what its model
    got is judged; of others the rendered prompt alone. Exits with 1 if a required point is missing.
    """
    kept: dict[str, Any] = {}
    faults = 0
    for cli in REAL_CLIS:
        if kinds and cli.kind not in kinds:
            continue
        scores: dict[str, Score] = {}
        found = is_there(cli)

        def report(case: Case, each: Score, scores: dict[str, Score] = scores) -> None:
            scores[case.name] = each

        trio.run(score_cli, cli, report, lambda case: not names or case.name in names)
        version = version_of(cli.kind) if found else "not run"
        print_table(f"{cli.kind} ({version})", scores)
        kept[cli.kind] = {"version": version, "cases": as_record(scores)}
        faults += sum(len(each.faults) for each in scores.values())
    record = {
        "benchmark": "evals",
        "started_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "clis": kept,
        "faults": faults,
    }
    print(f"\n{faults} faults; kept in {keep([record], repository() / 'bench-results')}")
    if not any(is_there(cli) for cli in REAL_CLIS):
        print(f"no CLI was run: set {DIRECTORIES_VARIABLE} to the directories that hold some")
    sys.exit(1 if faults else 0)


def print_table(title: str, scores: Mapping[str, Score]) -> None:
    """One line per case with its figures, and one below it for each fault; then the totals."""
    width = max(map(len, scores), default=0)
    print(f"\n{title}")
    print("  " + " ".join([" " * width, *(f"{name.replace('_', ' '):>{_width(name)}}" for name in _COLUMNS), "faults"]))
    for name, each in scores.items():
        cells = [f"{each.figures[column]:>{_width(column)},g}" for column in _COLUMNS]
        print("  " + " ".join([f"{name:{width}}", *cells, f"{len(each.faults):>6}"]))
        for fault in each.faults:
            print(f"    - {fault}")
    totals = {name: sum(each.figures[name] for each in scores.values()) for name in _COLUMNS[:3]}
    print("  in all: " + ", ".join(f"{value:,g} {name.replace('_', ' ')}" for name, value in totals.items()))


def _width(column: str) -> int:
    return len(column)


if __name__ == "__main__":
    main()
