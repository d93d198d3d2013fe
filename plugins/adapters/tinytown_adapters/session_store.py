"""The last CLI session of an agent, stored in a file of the agent's between rounds."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec
from tinytown.contracts import Usage
from tinytown.files import replace_file

from tinytown_adapters.agent_files import read_agent_file

_FILE = "session.json"


class CliSessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A session of a CLI: its id there, the agent it belongs to, the directory it was made in.

    `used` is what it had consumed in all when it was left, for a CLI that counts by session and not by run. `forked_for` is the
    task that it was forked for, empty for a session that began as a new one.
    """

    id: str
    agent_id: str
    directory: str
    used: Usage | None = None
    forked_for: str = ""


def load_session(work_dir: Path, agent_id: str) -> CliSessionRecord | None:
    """The agent's last session; None for a new agent, even if it has an old name."""
    record = read_record(work_dir)
    return record if record is not None and record.agent_id == agent_id and record.id else None


def read_record(work_dir: Path, *, below: Path | None = None) -> CliSessionRecord | None:
    """The record in an agent's directory for a CLI, whichever agent of that name left it; see `read_agent_file` for `below`."""
    try:
        return msgspec.json.decode(read_agent_file(work_dir / _FILE, below=below), type=CliSessionRecord)
    except (OSError, ValueError):
        return None


def store_session(work_dir: Path, record: CliSessionRecord | None) -> None:
    """Store the session, or remove it. If it cannot be written, the next round starts a new session."""
    with suppress(OSError):
        if record is None:
            (work_dir / _FILE).unlink(missing_ok=True)
        else:
            write_private(work_dir / _FILE, msgspec.json.encode(record))


def write_private(path: Path, content: bytes) -> None:
    """A file that its owner alone can read, whole or not at all. Raises: OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(path, content)
