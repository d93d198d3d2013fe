"""The model server as a process: the first line of its output is the port, and SIGTERM or SIGINT end it at once."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

from tinytown_testing.models.scripts import load_script
from tinytown_testing.models.server import ModelServer


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tinytown_testing.models", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="which port of the loopback (default: any that is free)")
    parser.add_argument("--script", default="", help="the rules: a JSON file, or the JSON itself")
    parser.add_argument("--log", type=Path, help="append every request to this file, one JSON object a line")
    given = parser.parse_args(arguments)
    try:
        server = ModelServer(load_script(given.script), port=given.port, log=given.log)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    ended = threading.Event()

    def end(*_: object) -> None:
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    with server:
        print(server.port, flush=True)
        ended.wait()


if __name__ == "__main__":
    main()
