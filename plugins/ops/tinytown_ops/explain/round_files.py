"""What rounds left on this machine: transcripts, and the marks in an agent's log. Reads what `transcripts` writes."""

from __future__ import annotations

import heapq
import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from tinytown.model.round_records import RoundRecord
from tinytown.process import older_log
from tinytown.state import state_directory


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """The prompt and the last output of a round. `prompt` is the head of a prompt of `prompt_bytes`, `tail` the last lines that
    the backend reported; empty while the round is in progress, or when its kernel was killed before the end."""

    run: str
    prompt: str = ""
    prompt_bytes: int = 0
    directory: str = ""
    tail: str = ""


def transcripts_directory(root: Path, agent: str) -> Path:
    """The directory of the transcripts of an agent's rounds. No process in a box sees it."""
    return state_directory(root) / "agents" / agent / "rounds"


def round_mark(round_id: str) -> str:
    """How the marks of a round begin in the log."""
    return f"--- round {round_id}"


def read_transcript(root: Path, agent: str, round_id: str) -> Transcript | None:
    """The transcript of a round, if this machine has it."""
    with suppress(OSError, ValueError):
        return msgspec.convert(_read(transcripts_directory(root, agent) / f"{round_id}.jsonl"), Transcript)
    return None


def lost_rounds(root: Path, agents: Iterable[str], *, known: Collection[str], limit: int) -> list[RoundRecord]:
    """Rounds on this machine whose end nobody has written, because their kernel was killed; their outcome is ``lost``.

    Of the `limit` latest transcripts of `agents` those that are not in `known`, by id, the oldest first. Blocking.
    """
    files: list[tuple[int, str, str]] = []
    for agent in agents:
        with suppress(OSError), os.scandir(transcripts_directory(root, agent)) as entries:
            files += [(entry.stat().st_mtime_ns, entry.path, agent) for entry in entries]
    found: list[RoundRecord] = []
    for _, path, agent in sorted(heapq.nlargest(limit, files)):
        with suppress(OSError, ValueError):
            fields = _read(Path(path))
            if "tail" not in fields and fields["run"] not in known:
                found.append(
                    RoundRecord(
                        round_id=fields["run"],
                        outcome="lost",
                        agent=agent,
                        task=fields.get("task"),
                        reason="its kernel was killed",
                        cli=fields.get("cli") or "",
                        began_at=fields.get("began_at") or "",
                    )
                )
    return found


def _read(path: Path) -> dict[str, Any]:
    """The members of a transcript. Raises: OSError; ValueError."""
    fields: dict[str, Any] = {}
    for line in path.read_bytes().splitlines():
        fields |= msgspec.json.decode(line, type=dict[str, Any])
    return fields


def round_begin(log: Path, round_id: str) -> tuple[Path, int] | None:
    """Where a round begins: the log or the rotated one, and the position of its mark; None when neither has it."""
    mark = f"{round_mark(round_id)} begins".encode()
    for path in (log, older_log(log)):
        with suppress(OSError), open(path, "rb") as file:
            for line in file:
                if line.startswith(mark):
                    return path, file.tell() - len(line)
    return None


def has_ended(line: bytes, round_id: str) -> bool:
    """Whether this line of the log marks the end of the round."""
    return line.startswith(f"{round_mark(round_id)} ends".encode())
