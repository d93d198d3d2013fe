"""The embedded server's own log: kept from growing for ever, and read when the server did not start.

Knows how Redis and Valkey word their failures; knows nothing of sockets and processes.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from tinytown.errors import ServerUnreachable

#: A log larger than this is put aside as ``redis.log.1`` at the next start, replacing the one before.
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


def set_aside(log: Path) -> int:
    """Rename an overgrown log to ``.1``; the byte of the log in place at which a new start's lines begin."""
    try:
        size_bytes = log.stat().st_size
    except FileNotFoundError:
        return 0
    if size_bytes <= LOG_LIMIT_BYTES:
        return size_bytes
    os.replace(log, log.with_name(log.name + ".1"))
    return 0


def last_words(log: Path, *, from_byte: int = 0) -> list[tuple[str, str]]:
    """What was logged from `from_byte` on, at most the last 64 KiB, as (level, text); level ``#`` is a warning."""
    try:
        with log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(from_byte, end - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    words: list[tuple[str, str]] = []
    for line in text.splitlines():
        match = _PREFIX.match(line)
        level, said = (match["level"], line[match.end() :]) if match else (words[-1][0] if words else "#", line)
        # Said at every start on most machines, and never the reason why one failed.
        if said.strip() and "overcommit" not in said:
            words.append((level, said.strip()))
    return words


def why_it_failed(log: Path, *, from_byte: int, program: str) -> ServerUnreachable:
    """The error for a server that ended while it was starting.

    Code ``corrupt_aof`` (field ``path``: the unreadable file, or the directory where the log does not say which),
    ``server_too_old`` (the data was written by a newer server), else ``server_failed`` with what it said last.
    """
    words = last_words(log, from_byte=from_byte)
    data = log.parent / "appendonlydir"
    newer = next((said for _, said in words if _NEWER_DATA.search(said)), None)
    if newer is not None:
        return ServerUnreachable(
            f"the data in {data} was written by a newer server than {program}: {newer}",
            hint="start the town with the server it was used with, or a newer one",
            code="server_too_old",
            path=program,
        )
    unreadable = next((said for _, said in words if _UNREADABLE_DATA.search(said)), None)
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
    warnings = [said for level, said in words if level == "#"] or [said for _, said in words[-1:]]
    return ServerUnreachable(
        f"the server {program} ended while starting: {' / '.join(warnings[-2:]) or 'it logged nothing'}",
        hint=f"see {log}",
        code="server_failed",
        path=program,
    )


def _without_advice(said: str) -> str:
    # The server advises to repair in place, where a wrong guess loses mail; our hint says to do it on a copy.
    return said.partition(": make a backup")[0]
