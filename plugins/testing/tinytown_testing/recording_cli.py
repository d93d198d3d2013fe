"""Runs a real CLI in its place on PATH and writes down what it does, for `recorder`. Standard library alone; a script of its own.

Each run is a file of JSON lines that is named by the process: the arguments first, then what `recordings` says of a recording.
The output of the CLI and its exit status are passed to its caller; its input and signals of the group reach it directly.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import IO, Any

#: A command of the model that writes its process id into this file of the workspace is known to be at work.
TOOL_FILE = "tool.pid"

_POLL_S = 0.05
_LAST_WORDS_S = 2.0  # for what the CLI has left behind and still prints


class Notes:
    """The file of one run."""

    def __init__(self, directory: str) -> None:
        self._began = time.monotonic()
        self._lock = threading.RLock()  # a signal may come while a line is written
        self._file = open(os.path.join(directory, f"{os.getpid()}.jsonl"), "w", encoding="utf-8")  # noqa: SIM115

    def add(self, **event: Any) -> None:
        """Write a line, with the second it is of."""
        with self._lock:
            self._file.write(json.dumps({"t": round(time.monotonic() - self._began, 2), **event}) + "\n")
            self._file.flush()


def main(words: list[str]) -> int:
    """`words`: the directory for the notes, the CLI, its arguments."""
    directory, program, *arguments = words
    notes = Notes(directory)
    notes.add(arguments=arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: notes.add(signalled=signal.Signals(number).name))
    process = subprocess.Popen([program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    assert process.stderr
    over = threading.Event()
    streams = [
        threading.Thread(target=_pass_on, args=(process.stdout, 1, "out", notes), daemon=True),
        threading.Thread(target=_pass_on, args=(process.stderr, 2, "err", notes), daemon=True),
    ]
    watching = threading.Thread(target=_watch_tool, args=(notes, over), daemon=True)
    for thread in (*streams, watching):
        thread.start()
    status = process.wait()
    for thread in streams:
        thread.join(_LAST_WORDS_S)
    over.set()
    watching.join()
    notes.add(**({"status": status} if status >= 0 else {"signal": -status}))
    if status >= 0:
        return status
    if -status != signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
    return 1


def _pass_on(stream: IO[bytes], descriptor: int, name: str, notes: Notes) -> None:
    for line in stream:
        notes.add(**{name: line.decode("utf-8", "replace").rstrip("\r\n")})
        try:
            os.write(descriptor, line)
        except OSError:  # nobody listens any more
            continue


def _watch_tool(notes: Notes, over: threading.Event) -> None:
    """Note when a command of the model is at work, and whether it has ended with the CLI."""
    pid = 0
    while not over.wait(_POLL_S):
        if not pid and (pid := _tool()):
            notes.add(tool="started")
    if pid and not _is_running(pid):
        notes.add(tool="ended")


def _tool() -> int:
    try:
        with open(TOOL_FILE, encoding="ascii") as file:
            return int(file.read().strip() or 0)
    except (OSError, ValueError):
        return 0


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
