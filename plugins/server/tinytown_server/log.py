"""The log of the embedded server: rotated at each start, and read when a start failed.

Knows how Redis and Valkey word their failures; knows nothing of sockets and processes.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from tinytown.errors import ServerUnreachable

#: A log larger than this is renamed to ``redis.log.1`` at the next start, replacing the one before.
LOG_LIMIT_BYTES = 5 * 1024 * 1024

_TAIL_BYTES = 64 * 1024
_PREFIX = re.compile(r"^\d+:[A-Z] \d+ \w+ \d+ [\d:.]+ (?P<level>[.*#-]) ")
_UNREADABLE_DATA = re.compile(
    r"reading the append only file"  # bad file format, unknown command, unexpected end, unrecoverable read error
    r"|AOF MANIFEST FILE ERROR|Unable to obtain the AOF file|AOF file .* (?:doesn't exist|is missing)"
    r"|Internal error in RDB|loading DB\. Unrecoverable error|Wrong signature trying to load DB|RDB CRC error"
)
_NEWER_DATA = re.compile(r"Can't handle RDB format version")
_AOF_NAME = re.compile(r"appendonly\.aof\.\d+\.(?:base|incr)\.(?:aof|rdb)")


def rotate(log: Path) -> int:
    """Rename a log above the limit to ``.1``; the byte at which the lines of a new start begin."""
    try:
        size_bytes = log.stat().st_size
    except FileNotFoundError:
        return 0
    if size_bytes <= LOG_LIMIT_BYTES:
        return size_bytes
    os.replace(log, log.with_name(log.name + ".1"))
    return 0


def last_lines(log: Path, *, from_byte: int = 0) -> list[tuple[str, str]]:
    """What was logged from `from_byte` on, at most the last 64 KiB, as (level, text); level ``#`` is a warning."""
    try:
        with log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(from_byte, end - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    entries: list[tuple[str, str]] = []
    for line in text.splitlines():
        match = _PREFIX.match(line)
        level, text = (match["level"], line[match.end() :]) if match else (entries[-1][0] if entries else "#", line)
        # Logged at every start on most machines, and never the reason of a failure.
        if text.strip() and "overcommit" not in text:
            entries.append((level, text.strip()))
    return entries


def start_failure(log: Path, *, from_byte: int, program: str) -> ServerUnreachable:
    """The error for a server that ended while it was starting.

    Code ``corrupt_aof`` (field ``path``: the unreadable file, or the directory where the log does not say which),
    ``server_too_old`` (the data was written by a newer server), else ``server_failed`` with its last lines.
    """
    entries = last_lines(log, from_byte=from_byte)
    data = log.parent / "appendonlydir"
    newer = next((text for _, text in entries if _NEWER_DATA.search(text)), None)
    if newer is not None:
        return ServerUnreachable(
            f"the data in {data} was written by a newer server than {program}: {newer}",
            hint="start the town with the server it was used with, or a newer one",
            code="server_too_old",
            path=program,
        )
    unreadable = next((text for _, text in entries if _UNREADABLE_DATA.search(text)), None)
    if unreadable is not None:
        name = "appendonly.aof.manifest" if "MANIFEST" in unreadable else ""
        if (named := _AOF_NAME.search(unreadable)) is not None:
            name = named[0]
        path = data / name
        return ServerUnreachable(
            f"the server cannot read its append-only file {path}: {_without_advice(unreadable)}",
            hint=f"copy {data} and run valkey-check-aof --fix (or redis-check-aof --fix) on the copy's "
            "appendonly.aof.manifest, or move the directory away to begin with an empty town; nothing was changed",
            code="corrupt_aof",
            path=str(path),
        )
    warnings = [text for level, text in entries if level == "#"] or [text for _, text in entries[-1:]]
    return ServerUnreachable(
        f"the server {program} ended while starting: {' / '.join(warnings[-2:]) or 'it logged nothing'}",
        hint=f"see {log}",
        code="server_failed",
        path=program,
    )


def _without_advice(text: str) -> str:
    # The server advises to repair in place, where a wrong guess loses mail; our hint is to repair a copy.
    return text.partition(": make a backup")[0]
