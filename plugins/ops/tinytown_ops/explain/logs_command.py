"""``tt logs``: what the processes of an agent have written, and what they write. A file on this machine: needs no server
when the agent's name is written in full, so that one can look while nothing else works.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import click
from tinytown.errors import NotFound, UsageError
from tinytown.kernel import has_ended, log_path, older_log, round_begin
from tinytown.model.ids import check_agent_name
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.kernel_process import kernel_log
from tinytown_cli.params import AGENT, ROUND
from tinytown_ops.explain.history_command import find_round

#: A longer line comes in pieces.
_LINE_BYTES = 64 * 1024
#: Files tell nobody that they have grown, on no system in the same way: a look costs a few microseconds.
_LOOK_EVERY_S = 0.1
_BLOCK_BYTES = 64 * 1024

# What colours text, moves the cursor or sets a title: nothing that one would want to read. Everything else that a terminal
# might obey is shown as an escape.
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][0-9A-B]|[@-Z\\-_=>])")


@click.command(
    cls=TownCommand,
    examples=["tt logs worker", "tt logs worker --follow", "tt logs worker --round 1", "tt logs kernel --lines 200"],
)
@click.argument("agent", type=AGENT)
@click.option(
    "-f", "--follow", is_flag=True, help="Then go on with what is written, until Ctrl-C; with --round until its end."
)
@click.option(
    "--round",
    "word",
    type=ROUND,
    metavar="RUN",
    help="Only this round: its id, or 1 for the latest that has ended, 2 for the one before.",
)
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0),
    metavar="N",
    help="The last so many lines.  [default: 50; with --round all]",
)
@click.option("--raw", is_flag=True, help="The bytes as they were written, control characters included.")
@pass_cli_context
def logs(context: CliContext, agent: str, follow: bool, word: str | None, lines: int | None, raw: bool) -> None:
    """What AGENT's processes have written on this machine; a line marks where each round begins and ends.

    With --json one object a line. The town's kernel has a log too: tt logs kernel.
    """
    if raw and context.json:
        raise UsageError("expected --raw or --json, got both")
    root = context.town_root()
    path, round_id = _sought(context, root, agent, word)
    log = Log(path)
    if round_id is None:
        said: Iterator[bytes] = log.last_lines(50 if lines is None else lines)
    elif (begin := round_begin(path, round_id)) is None:
        raise NotFound(
            f"round {round_id} is not in {path}", hint="it is too old, was done on another machine, or has only begun"
        )
    else:
        said = log.lines_from(*begin)
        if not follow:
            said = _up_to_end(said, round_id)
        if lines is not None:
            said = iter(deque(said, lines))
    if not path.exists():
        context.warn(f"nothing has been written to {path} so far")
    shown_all = _show(context, said, raw=raw, round_id=round_id)
    if follow and not shown_all:
        _show(context, log.follow(), raw=raw, round_id=round_id)


def _sought(context: CliContext, root: Path, agent: str, word: str | None) -> tuple[Path, str | None]:
    """The log, and the round in it that is asked for."""
    if word is None:
        with contextlib.suppress(UsageError):
            path = log_path(root, check_agent_name(agent))
            if path.exists():
                return path, None
        if agent == "kernel":
            return kernel_log(root), None
    with context.open_town() as town:
        if word is None:
            return log_path(root, town.run(town.operations.agent(agent)).name), None
        record = find_round(town, agent, word)
    return log_path(root, record.agent), record.round_id


def _up_to_end(lines: Iterator[bytes], round_id: str) -> Iterator[bytes]:
    for line in lines:
        yield line
        if has_ended(line, round_id):
            return


def _show(context: CliContext, lines: Iterator[bytes], *, raw: bool, round_id: str | None) -> bool:
    """Print the lines; whether the end of the round was among them."""
    for line in lines:
        if raw:
            sys.stdout.buffer.write(line)
            sys.stdout.flush()
        else:
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            context.emit({"line": text}, readable(text))
        if round_id is not None and has_ended(line, round_id):
            return True
    return False


def readable(text: str) -> str:
    """A line of output without what only a terminal understands; of what overwrites itself, its last state."""
    return _ANSI.sub("", text).rpartition("\r")[2]


class Log:
    """A file that grows and is now and then begun anew; remembers how far it has been read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = 0
        self._position = 0

    def last_lines(self, count: int) -> Iterator[bytes]:
        """The last `count` lines, those of the older log included where the newer has too few."""
        newer = self._tail(self._path, count, remember=True)
        older = self._tail(older_log(self._path), count - len(newer)) if len(newer) < count else []
        yield from older
        yield from newer

    def lines_from(self, path: Path, position: int) -> Iterator[bytes]:
        """The lines from a position in this log or the older one, to the end of this one."""
        if path != self._path:
            yield from self._read(path, position)
            position = 0
        yield from self._read(self._path, position, remember=True)

    def follow(self) -> Iterator[bytes]:
        """The lines that come behind what was read, for ever."""
        while True:
            with contextlib.suppress(OSError):
                status = self._path.stat()
                if status.st_ino != self._inode:
                    older = older_log(self._path)
                    with contextlib.suppress(OSError):
                        if older.stat().st_ino == self._inode:
                            yield from self._read(older, self._position)
                    self._inode, self._position = status.st_ino, 0
                if status.st_size < self._position:
                    self._position = 0
                if status.st_size > self._position:
                    yield from self._read(self._path, self._position, remember=True, whole=True)
            time.sleep(_LOOK_EVERY_S)

    def _read(self, path: Path, position: int, *, remember: bool = False, whole: bool = False) -> Iterator[bytes]:
        """Lines from a position on. With `whole` the last one waits until its newline is there."""
        try:
            file = open(path, "rb")  # noqa: SIM115 - closed by the block below
        except OSError:
            return
        with file:
            if remember:
                self._inode = os.fstat(file.fileno()).st_ino
            file.seek(position)
            while line := file.readline(_LINE_BYTES):
                if whole and not line.endswith(b"\n") and len(line) < _LINE_BYTES:
                    return
                if remember:
                    self._position = file.tell()
                yield line

    def _tail(self, path: Path, count: int, *, remember: bool = False) -> list[bytes]:
        try:
            file = open(path, "rb")  # noqa: SIM115 - closed by the block below
        except OSError:
            return []
        with file:
            end = position = file.seek(0, os.SEEK_END)
            blocks: list[bytes] = []
            newlines = 0
            while position > 0 and newlines <= count and (end - position) < _LINE_BYTES * max(count, 1):
                step = min(_BLOCK_BYTES, position)
                position -= step
                file.seek(position)
                blocks.append(file.read(step))
                newlines += blocks[-1].count(b"\n")
            if remember:
                self._inode, self._position = os.fstat(file.fileno()).st_ino, end
        *whole, rest = b"".join(reversed(blocks)).split(b"\n")
        lines = [line + b"\n" for line in whole] + ([rest] if rest else [])
        return lines[len(lines) - count :] if count < len(lines) else lines
