"""Plays what a real CLI was once seen to do: the same lines on the same streams, the same end, a real process for a tool.

A script of its own, run under the CLI's name by what `install_fake_cli` writes; standard library only, because it starts
often. `recordings` says what a recording holds. It takes its prompt from standard input or from the file that follows an
option in `PROMPT_FILE_OPTIONS`, and answers with its last word. What is to be played is in the prompt, as JSON:

    <fake>{"play": "unauthorized"}</fake>   another recording than the one called "answer"
    <fake>{"print": "/a/file"}</fake>       the bytes of a file, and status 0
    <fake>{"die": "last words"}</fake>      these words on standard error, and death by SIGKILL
    <fake>{"fail": "no"}</fake>             this word on standard error, no answer, and status 1
    <fake>{"stubborn": "ready"}</fake>      the answer is this word, no signal ends it, and neither does one its child
    <fake>{"late": "too late"}</fake>       the answer, and a child that says this on standard output when all is over
"""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PROMPT_FILE_OPTIONS = ("--instruction-file", "--message-file")

_LATE_S = 0.3
_TOOL = "sleep 600"
_ENDING = {signal.SIGINT, signal.SIGTERM}
_CHILD_THAT_IGNORES_SIGNALS = "trap '' TERM INT HUP; echo up; while :; do sleep 1; done"


class Player:
    """One run: what is said is in `events`, `word` is put in place of ``{answer}``."""

    def __init__(self, events: list[dict[str, Any]], word: str) -> None:
        self._events = events
        self._word = json.dumps(word)[1:-1]
        self._tool: subprocess.Popen[bytes] | None = None

    def play(self) -> int:
        """Everything in its order; a signal jumps to what was seen after the recorded one. The status to end with."""
        if any("signalled" in event for event in self._events):
            signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # so that one comes between two events
        position = 0
        while position < len(self._events):
            if "signalled" in self._events[position] or signal.sigpending() & _ENDING:
                signal.sigwait(_ENDING)
                later = range(position, len(self._events))
                position = 1 + next((n for n in later if "signalled" in self._events[n]), position - 1)
            else:
                self._do(self._events[position])
                position += 1
        return 0

    def _do(self, event: dict[str, Any]) -> None:
        match event:
            case {"out": str(text)}:
                _say(1, text.replace("{answer}", self._word))
            case {"err": str(text)}:
                _say(2, text.replace("{answer}", self._word))
            case {"tool": "started"}:
                # As real CLIs do it: a session of its own, out of reach of whoever signals the group.
                nowhere = subprocess.DEVNULL
                self._tool = subprocess.Popen(
                    _TOOL.split(),
                    start_new_session=True,
                    stdin=nowhere,
                    stdout=nowhere,
                    stderr=nowhere,
                    preexec_fn=_unblock,
                )
            case {"tool": "ended"} if self._tool:
                self._tool.kill()
                self._tool.wait()
            case {"status": int(status)}:
                sys.exit(status)
            case {"signal": int(number)}:
                if number != signal.SIGKILL:
                    signal.signal(number, signal.SIG_DFL)
                _unblock()
                os.kill(os.getpid(), number)
                time.sleep(60)  # until it arrives
            case _:
                pass


def read_events(path: Path) -> list[dict[str, Any]]:
    """What a recording holds after its first line."""
    return [json.loads(line) for line in path.read_text().splitlines()[1:]]


def main(arguments: list[str]) -> int:
    """`arguments`: the directory of the recordings, then what the CLI was called with."""
    recordings, *given = arguments
    if "--version" in given:
        first = next(iter(sorted(Path(recordings).glob("*.jsonl"))))
        print(json.loads(first.read_text().splitlines()[0])["version"])
        return 0
    prompt = _prompt(given)
    wanted: dict[str, Any] = {}
    if asked := re.search(r"<fake>(.*?)</fake>", prompt, re.DOTALL):
        wanted = json.loads(asked[1])
    words = (prompt[: asked.start()] + prompt[asked.end() :] if asked else prompt)[-1000:].split()
    word = str(wanted.get("stubborn") or (words[-1] if words else "nothing"))
    if "print" in wanted:
        with open(wanted["print"], "rb") as source:
            sys.stdout.buffer.write(source.read())
        return 0
    if "fail" in wanted:
        _say(2, wanted["fail"])
        return 1
    if "die" in wanted:
        _say(2, wanted["die"])
        os.kill(os.getpid(), signal.SIGKILL)
    events = read_events(Path(recordings) / f"{wanted.get('play', 'answer')}.jsonl")
    if "stubborn" in wanted:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        child = subprocess.Popen(
            ["sh", "-c", _CHILD_THAT_IGNORES_SIGNALS], stdout=subprocess.PIPE, start_new_session=True
        )
        assert child.stdout
        child.stdout.readline()
        Player([event for event in events if not event.keys() & {"status", "signal"}], word).play()
        child.wait()
    if "late" in wanted:
        subprocess.Popen(["sh", "-c", f'sleep {_LATE_S}; echo "$1"', "sh", wanted["late"]])
    return Player(events, word).play()


def _prompt(arguments: list[str]) -> str:
    for option, value in itertools.pairwise(arguments):
        if option in PROMPT_FILE_OPTIONS:
            return Path(value).read_bytes().decode("utf-8", "replace")
    if "--input-format" in arguments:  # it takes one message a line, and stays open
        return str(json.loads(sys.stdin.buffer.readline())["message"]["content"])
    return sys.stdin.buffer.read().decode("utf-8", "replace")


def _say(descriptor: int, text: str) -> None:
    data = memoryview(text.encode() + b"\n")
    while data:
        data = data[os.write(descriptor, data) :]


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
