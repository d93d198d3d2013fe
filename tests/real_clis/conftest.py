"""A table at the end: of each CLI the version that ran, the one that was recorded, and how its tests ended."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.real_clis.clis import DIRECTORIES_VARIABLE, REAL_CLIS

ROOT = Path(__file__).parents[2]
_ENDS = ("passed", "failed", "skipped")
_counted: dict[str, Counter[str]] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    parameters = re.search(r"\[(\w+)", report.nodeid)
    if parameters and "real_clis" in report.nodeid and (report.when == "call" or report.outcome != "passed"):
        _counted.setdefault(parameters[1], Counter())[report.outcome] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = [(cli.kind, _counted[cli.kind]) for cli in REAL_CLIS if cli.kind in _counted]
    if not rows or not os.environ.get(DIRECTORIES_VARIABLE):
        return
    terminalreporter.section("real CLIs")
    terminalreporter.write_line(f"{'CLI':10} {'ran':>12} {'recorded':>12} " + " ".join(f"{end:>8}" for end in _ENDS))
    for kind, ends in rows:
        ran, recorded = version_of(kind), recorded_version(kind)
        news = "  newer than recorded: record it again" if ran != recorded else ""
        counts = " ".join(f"{ends[end]:>8}" for end in _ENDS)
        terminalreporter.write_line(f"{kind:10} {ran:>12} {recorded:>12} {counts}{news}")


def version_of(command: str) -> str:
    """What the installed one says of itself."""
    path = shutil.which(command, path=os.environ[DIRECTORIES_VARIABLE])
    if path is None:
        return "none"
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return _number(said)


def recorded_version(kind: str) -> str:
    """The version whose recordings the plugins' own tests play."""
    for path in sorted(ROOT.glob("plugins/*/tests/recordings/**/answer.jsonl")):
        head = json.loads(path.read_text().splitlines()[0])
        if head["cli"] == kind:
            return _number(str(head["version"]))
    return "none"


def _number(said: str) -> str:
    found = re.search(r"\d+(\.\d+)+", said)
    return found[0] if found else "unknown"
