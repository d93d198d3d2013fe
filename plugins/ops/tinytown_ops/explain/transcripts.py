"""The files that rounds leave on their machine: marks in an agent's log, and transcripts of its latest rounds (the prompt and
the last output).

Writing never fails a round: on a full disk there is no transcript. Blocking and quick. Reading them is `round_files`.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import msgspec
from tinytown.config import LimitsConfig
from tinytown.contracts import Round, RoundObserver
from tinytown.model.agents import Agent
from tinytown.model.round_records import RoundRecord
from tinytown.model.time import rfc3339
from tinytown.process import older_log

from tinytown_ops.explain.round_files import Transcript, round_mark, transcripts_directory

PROMPT_BYTES = 16 * 1024
#: An agent may put a link or a pipe in the place of a file.
_APPEND = os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK


class RoundFiles(RoundObserver):
    """Writes the files of all rounds on this machine, within the bounds of `limits`."""

    name = "round_files"

    def __init__(self, root: Path, limits: LimitsConfig) -> None:
        self._root = root
        self._limits = limits
        self._began_at_byte: dict[str, int] = {}

    def began(self, agent: Agent, work: Round) -> None:
        """Mark the beginning in the log, rotated beyond ``log_bytes``, and write the prompt; ``rounds_kept`` transcripts stay."""
        with suppress(OSError):
            if work.log_path.stat().st_size > self._limits.log_bytes:
                work.log_path.replace(older_log(work.log_path))
        subject = f"task {', '.join(task.id for task in work.tasks)}" if work.tasks else "mail"
        began_at = rfc3339(int(time.time() * 1000))
        with suppress(OSError):
            self._began_at_byte[work.round_id] = _mark(work, f"begins {began_at}, {subject}")
        raw = work.prompt.encode("utf-8", "replace")
        transcript = Transcript(
            run=work.round_id,
            prompt=raw[:PROMPT_BYTES].decode("utf-8", "ignore"),
            prompt_bytes=len(raw),
            directory=str(work.directory),
        )
        with suppress(OSError):
            directory = transcripts_directory(self._root, agent.name)
            for path in (directory.parent.parent, directory.parent, directory):
                path.mkdir(mode=0o700, exist_ok=True)
            about = {"cli": agent.cli, "task": work.tasks[0].id if work.tasks else None, "began_at": began_at}
            _write(directory, transcript, "run", "prompt", "prompt_bytes", "directory", **about)
            _keep_newest(directory, self._limits.rounds_kept)

    def ended(self, agent: Agent, work: Round, record: RoundRecord, tail: bytes) -> None:
        """Mark the round's end and complete its transcript. If the backend wrote no log, its last lines go there."""
        began_at_byte = self._began_at_byte.pop(work.round_id, None)
        if began_at_byte is None:
            return
        with suppress(OSError):
            if work.log_path.stat().st_size == began_at_byte:
                _append(work.log_path, tail)
        with suppress(OSError):
            _mark(work, f"ends {record.ended_at}, {record.outcome}")
        transcript = Transcript(run=work.round_id, tail=tail.decode("utf-8", "ignore").rstrip("\n"))
        with suppress(OSError):
            _write(transcripts_directory(self._root, agent.name), transcript, "tail")


def _mark(work: Round, text: str) -> int:
    """Append a mark to the log; its size in bytes then."""
    _append(work.log_path, f"{round_mark(work.round_id)} {text} ---\n".encode())
    return work.log_path.stat().st_size


def _write(directory: Path, transcript: Transcript, *members: str, **more: str | None) -> None:
    """Append a line with these members and `more`. Appended, not replaced: replacing makes some file systems sync a file."""
    fields = {name: getattr(transcript, name) for name in members} | more
    with open(os.open(directory / f"{transcript.run}.jsonl", os.O_WRONLY | _APPEND, 0o600), "wb") as file:
        file.write(msgspec.json.encode(fields) + b"\n")


def _append(path: Path, raw: bytes) -> None:
    """Append whole lines to a log, also after an unfinished one."""
    if not raw:
        return
    with open(os.open(path, os.O_RDWR | _APPEND, 0o600), "r+b", buffering=0) as file:
        if file.seek(0, os.SEEK_END) > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                raw = b"\n" + raw
        file.write(raw if raw.endswith(b"\n") else raw + b"\n")


def _keep_newest(directory: Path, kept: int) -> None:
    """Remove old transcripts, once there are half as many again: checking their ages costs a call for each file."""
    if len(os.listdir(directory)) <= kept + max(4, kept // 2):
        return
    with os.scandir(directory) as entries:
        by_age = sorted((entry.stat().st_mtime_ns, entry.path) for entry in entries)
    for _, path in by_age[: len(by_age) - kept]:
        with suppress(FileNotFoundError):
            os.unlink(path)
