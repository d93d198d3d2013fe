"""The files that rounds leave on their machine: a log for each agent, in which each round is marked, and transcripts of the
latest rounds (the prompt and the last output).

Writing never fails a round: on a full disk there is no transcript. Blocking and quick; knows nothing of how rounds run.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from tinytown.config import LimitsConfig
from tinytown.process.output import older_log
from tinytown.state import state_directory

PROMPT_BYTES = 16 * 1024
TAIL_BYTES = 16 * 1024


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """The prompt and the last output of a round. `prompt` is the head of a prompt of `prompt_bytes`, `tail` the last lines that
    the backend reported; empty while the round is in progress, or when its kernel was killed before the end."""

    run: str
    prompt: str = ""
    prompt_bytes: int = 0
    directory: str = ""
    tail: str = ""


class RoundFiles:
    """Writes the files of one round. `begin` comes first; without it `end` does nothing."""

    def __init__(self, root: Path, agent: str, round_id: str) -> None:
        self.log = log_path(root, agent)
        self._transcripts = transcripts_directory(root, agent)
        self._transcript = Transcript(run=round_id)
        self._began_at_byte: int | None = None

    @property
    def prompt_bytes(self) -> int:
        return self._transcript.prompt_bytes

    def begin(self, prompt: str, about: str, directory: Path, limits: LimitsConfig) -> None:
        """Mark the beginning in the log, rotated beyond ``log_bytes``, and write the prompt; ``rounds_kept`` transcripts stay."""
        raw = prompt.encode("utf-8", "replace")
        head, run = raw[:PROMPT_BYTES].decode("utf-8", "ignore"), self._transcript.run
        self._transcript = Transcript(run=run, prompt=head, prompt_bytes=len(raw), directory=str(directory))
        with suppress(OSError):
            if self.log.stat().st_size > limits.log_bytes:
                self.log.replace(older_log(self.log))
        self._began_at_byte = self._mark(f"begins {about}")
        with suppress(OSError):
            for path in (self._transcripts.parent.parent, self._transcripts.parent, self._transcripts):
                path.mkdir(mode=0o700, exist_ok=True)
            self._write_transcript("run", "prompt", "prompt_bytes", "directory")
            _keep_newest(self._transcripts, limits.rounds_kept)

    def end(self, about: str, tail: bytes) -> None:
        """Mark the round's end and complete its transcript. If the backend wrote no log, its last lines go there."""
        if self._began_at_byte is None:
            return
        self._transcript = msgspec.structs.replace(self._transcript, tail=tail.decode("utf-8", "ignore").rstrip("\n"))
        with suppress(OSError):
            if self.log.stat().st_size == self._began_at_byte:
                _append(self.log, tail)
        self._mark(f"ends {about}")
        with suppress(OSError):
            self._write_transcript("tail")

    def _mark(self, text: str) -> int | None:
        """Append a mark to the log; its size in bytes then."""
        with suppress(OSError):
            _append(self.log, f"{round_mark(self._transcript.run)} {text} ---\n".encode())
            return self.log.stat().st_size
        return None

    def _write_transcript(self, *members: str) -> None:
        """Append a line with these members. Appended, not replaced: replacing a file makes some file systems sync it."""
        fields = {name: getattr(self._transcript, name) for name in members}
        path = self._transcripts / f"{self._transcript.run}.jsonl"
        with open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "wb") as file:
            file.write(msgspec.json.encode(fields) + b"\n")


def log_path(root: Path, agent: str) -> Path:
    """The log of an agent's output."""
    return state_directory(root) / "logs" / f"{agent}.log"


def transcripts_directory(root: Path, agent: str) -> Path:
    """The directory of the transcripts of an agent's rounds."""
    return state_directory(root) / "agents" / agent / "rounds"


def round_mark(round_id: str) -> str:
    """How the marks of a round begin in the log."""
    return f"--- round {round_id}"


def _append(path: Path, raw: bytes) -> None:
    """Append whole lines to a log, also after an unfinished one."""
    if not raw:
        return
    with open(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "r+b", buffering=0) as file:
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
