"""Forks of sessions: a task whose round starts from a copy of the session that another agent had when the task was given.

The table ``meta["fork"]`` of the task names that session. Other agents' files are read here, by the kernel, and never by
the agent: it gets a copy of this one session.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec
from tinytown.errors import UsageError
from tinytown.model.ids import check_agent_name
from tinytown.model.tasks import Task
from tinytown.process import Exit

from tinytown_adapters.agent_files import open_agent_file, read_agent_file
from tinytown_adapters.session_store import CliSessionRecord, read_record

TABLE = "fork"
_RECORD_BYTES = 256 << 20
#: Becomes an argument and part of a file's name.
_SESSION_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,199}", re.ASCII)


class SessionNotForked(Exception):
    """The session that a task starts from cannot be forked; the text says why."""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """What ``task.meta["fork"]`` holds: the agent's name, and the CLI's id of its session."""

    agent: str
    session_id: str


@dataclass(frozen=True, slots=True)
class SessionSource:
    """The session that a round starts from a copy of.

    - `agent` is the name of the agent that had it, `session_id` the CLI's id.
    - `work_dir` is that agent's directory for this CLI, of which anything may be missing.
    """

    agent: str
    session_id: str
    work_dir: Path

    def read(self, home: Path, pattern: str) -> tuple[str, bytes] | None:
        """A file of the session below a `home` of the CLI, as its path from there and its content; None if there is none.

        No link of an agent's is followed. Blocks. Raises: SessionNotForked for a file that cannot be read.
        """
        path = next(iter(sorted(home.glob(pattern))), None)
        if path is None:
            return None
        try:
            return str(path.relative_to(home)), read_agent_file(path, _RECORD_BYTES, below=self._below(home))
        except OSError as error:
            raise SessionNotForked(f"cannot read the session of {self.agent}: {error}") from error

    def has(self, home: Path, name: str) -> bool:
        """Whether a `home` of the CLI has such a regular file, to which no link of an agent's leads."""
        with suppress(OSError), open_agent_file(home / name, below=self._below(home)):
            return True
        return False

    def _below(self, home: Path) -> Path:
        """The directory from which on an agent may have put links on the way to its files."""
        return self.work_dir.parent if home.is_relative_to(self.work_dir) else home

    @property
    def directory(self) -> str | None:
        """Where the session was made; None if the agent has another one by now."""
        record = read_record(self.work_dir, below=self.work_dir.parent)
        return record.directory if record is not None and record.id == self.session_id else None

    @property
    def gone(self) -> SessionNotForked:
        """The error for a session that is not on this machine any more, or never was."""
        return SessionNotForked(
            f"the session {self.session_id} of {self.agent}, which the task starts from, is not on this machine"
        )


@dataclass(frozen=True, slots=True)
class TakenSession:
    """A session that is ready for a round to start from.

    - `session` is what the CLI is called with; unless it `is_copy`, the CLI has to fork it.
    - `files` are written before the start, as those of a `CommandSpec`.
    """

    session: CliSessionRecord
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    is_copy: bool = False


class RunCli(Protocol):
    """How an adapter runs its CLI beside the round, to get a session."""

    async def __call__(
        self, *arguments: str, environment: Mapping[str, str | None], stdout: Path | None = None
    ) -> Exit:
        """Run it in the round's directory with these changes to the round's environment, its output in the file `stdout`.

        Raises: ProcessFailed if it cannot be started.
        """
        ...


def source_of(task: Task | None, agents_directory: Path, plugin: str) -> SessionSource | None:
    """The session that a task starts from a copy of; None for any other task.

    `agents_directory` holds the directories of all agents, `plugin` names the CLI's in each. Raises: SessionNotForked for a table
    that is not valid.
    """
    if task is None or TABLE not in task.meta:
        return None
    try:
        table = msgspec.convert(task.meta[TABLE], Table)
        name = check_agent_name(table.agent)
    except (msgspec.ValidationError, UsageError) as error:
        raise SessionNotForked(f"the table {TABLE!r} of the task is not valid: {error}") from error
    if not _SESSION_ID.fullmatch(table.session_id):
        raise SessionNotForked(f"the table {TABLE!r} of the task is not valid: no session has such an id")
    return SessionSource(name, table.session_id, agents_directory / name / plugin)


def prompt_after_fork(prompt: str, source: SessionSource, agent: str, directory: Path) -> str:
    """The prompt of a round that starts in a copy of a session: it says to whom that belongs and what has changed."""
    whose = "you" if source.agent == agent else source.agent
    note = (
        f"This conversation is a copy of an earlier session of {source.agent}: everything above was said to {whose}, and what was"
        f" done in it was done by {whose}. Use what you know from it for the task below. You are {agent}, and your workspace is"
        f" {directory}: read its files again before you change them, and change none in another directory."
    )
    return f"{note}\n\n{prompt}"
