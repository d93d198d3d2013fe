"""Runs commands of ``tt`` within a round: ``driver.py FILE``, with a list of them as JSON. The answers lie beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

TIMEOUT_S = 60


def main(path: Path) -> None:
    answers: list[object] = []
    for words in json.loads(path.read_text()):
        try:
            ended = subprocess.run(
                ["tt", *words], capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL
            )
            answers.append([ended.returncode, (ended.stderr or ended.stdout)[-300:]])
        except subprocess.TimeoutExpired:
            answers.append([None, "it did not end"])
        path.with_suffix(".answers").write_text(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
