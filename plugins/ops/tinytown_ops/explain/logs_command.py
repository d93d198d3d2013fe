"""``tt logs``: the output of an agent's processes, past and present. A file on this machine: with the full name of an agent
no server is needed, so that it works when nothing else does.
"""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import click
from tinytown.errors import NotFound, UsageError
from tinytown.kernel import log_path
from tinytown.model.ids import check_agent_name
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.framework import TownCommand
from tinytown_cli.kernel_process import kernel_log
from tinytown_cli.params import AGENT, ROUND

from tinytown_ops.explain.history_command import find_round
from tinytown_ops.explain.log_file import Log, readable
from tinytown_ops.explain.round_files import has_ended, round_begin


@click.command(
    cls=TownCommand,
    examples=["tt logs worker", "tt logs worker --follow", "tt logs worker --round 1", "tt logs kernel --lines 200"],
    scope="town.read",
    local_options=["follow", "raw"],
)
@click.argument("agent", type=AGENT)
@click.option("-f", "--follow", is_flag=True, help="Then print new output until Ctrl-C; with --round until its end.")
@click.option(
    "--round",
    "word",
    type=ROUND,
    metavar="ROUND",
    help="Only this round: its id, or 1 for the latest finished one, 2 for the one before.",
)
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0),
    metavar="N",
    help="Maximum number of lines, counted from the end.  [default: 50; with --round all]",
)
@click.option("--raw", is_flag=True, help="Print the bytes unchanged, control characters included.")
@pass_cli_context
def logs(context: CliContext, agent: str, follow: bool, word: str | None, lines: int | None, raw: bool) -> None:
    """Print the output of AGENT's processes on this machine. Marker lines show where each round begins and ends.

    With --json one object per line. The log of the town's kernel: tt logs kernel.
    """
    if raw and context.json:
        raise UsageError("expected --raw or --json, got both")
    root = context.town_root()
    path, round_id = _locate(context, root, agent, word)
    log = Log(path)
    if round_id is None:
        output: Iterator[bytes] = log.last_lines(50 if lines is None else lines)
    elif (begin := round_begin(path, round_id)) is None:
        raise NotFound(
            f"round {round_id} is not in {path}", hint="it is too old, ran on another machine, or has only just begun"
        )
    else:
        output = log.lines_from(*begin)
        if not follow:
            output = _up_to_end(output, round_id)
        if lines is not None:
            output = iter(deque(output, lines))
    if not path.exists():
        context.warn(f"{path} has no output yet")
    has_ended_ = _print(context, output, raw=raw, round_id=round_id)
    if follow and not has_ended_:
        _print(context, log.follow(), raw=raw, round_id=round_id)


def _locate(context: CliContext, root: Path, agent: str, word: str | None) -> tuple[Path, str | None]:
    """The log file, and the id of the round in it if one was named."""
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


def _print(context: CliContext, lines: Iterator[bytes], *, raw: bool, round_id: str | None) -> bool:
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
