"""Copies of sessions of opencode, made by its ``export`` and ``import``: its own forks stay in the directory of the original.

Source: version 1.18.33 seen running. Sessions are in a database, `opencode.db`. What is imported belongs to the directory in
which that is done. Ids are random after the time that they begin with, by which messages are ordered.
"""

from __future__ import annotations

import re
import secrets
import shutil
import sqlite3
import string
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import trio
from tinytown_adapters import (
    CliSessionRecord,
    CliSettings,
    RunCli,
    RunRequest,
    SessionNotForked,
    SessionSource,
    TakenSession,
    read_agent_file,
)

_EXPORT_BYTES = 256 << 20
_ID = re.compile(r"\b(?:ses|msg|prt)_[0-9A-Za-z]{20,40}\b")
_RANDOM_CHARACTERS = 8


async def copy_session(
    source: SessionSource, request: RunRequest[CliSettings], run: RunCli, environment: Mapping[str, str | None]
) -> TakenSession:
    """A copy of a session among those of the agent of the request, in its directory; `environment` is that of its runs.

    Raises: SessionNotForked; ProcessFailed if opencode cannot be started; OSError.
    """
    data = request.environment.get("XDG_DATA_HOME") or Path(request.environment.get("HOME", "/"), ".local", "share")
    databases = [source.work_dir / "state" / "opencode.db", Path(data, "opencode", "opencode.db")]
    # A new directory: an agent cannot have put a link there.
    place = Path(tempfile.mkdtemp(prefix="fork-", dir=request.temporary_directory))
    try:
        database, exported = place / "opencode.db", place / "session.json"
        await trio.to_thread.run_sync(_snapshot, source, databases, database)
        # Through a pipe the export would be cut at 64 KiB.
        ended = await run("export", source.session_id, environment={"OPENCODE_DB": str(database)}, stdout=exported)
        if ended.status != 0:
            raise SessionNotForked(
                f"opencode cannot export the session of {source.agent}: {ended.stderr_tail.strip()[-500:]}"
            )
        text, session_id = _with_new_ids(read_agent_file(exported, _EXPORT_BYTES).decode(), source.session_id)
        exported.write_text(text)
        ended = await run("import", str(exported), environment=environment)
        if ended.status != 0:
            raise SessionNotForked(
                f"opencode cannot import the session of {source.agent}: {ended.stderr_tail.strip()[-500:]}"
            )
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return TakenSession(CliSessionRecord(id=session_id, agent_id="", directory=""), is_copy=True)


def _snapshot(source: SessionSource, databases: Sequence[Path], copy: Path) -> None:
    """Copy the first of the databases that has the session, as it is at this moment. Raises: SessionNotForked."""
    for path in databases:
        if not source.has(path.parent, path.name):
            continue
        try:
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as original:
                if original.execute("SELECT 1 FROM session WHERE id = ?", (source.session_id,)).fetchone():
                    with closing(sqlite3.connect(copy)) as made:
                        original.backup(made)
                    return
        except sqlite3.Error as error:
            raise SessionNotForked(f"cannot read the sessions of {source.agent}: {error}") from error
    raise source.gone


def _with_new_ids(text: str, session_id: str) -> tuple[str, str]:
    """An exported session with new ids, which have to be unique in a database, and that of the session among them.

    Raises: SessionNotForked for what is no export.
    """
    try:
        exported = msgspec.json.decode(text, type=_Export)
    except ValueError as error:
        raise SessionNotForked(f"opencode has exported something unexpected: {error}") from error
    items = [each for message in exported.messages for each in (message.info, *message.parts)]
    end = "".join(secrets.choice(string.ascii_letters) for _ in range(_RANDOM_CHARACTERS))
    ids = {each.id: f"{each.id[:-_RANDOM_CHARACTERS]}{end}" for each in (exported.info, *items)}
    return _ID.sub(lambda found: ids.get(found[0], found[0]), text), ids.get(session_id, session_id)


class _Item(msgspec.Struct):
    id: str


class _Message(msgspec.Struct):
    info: _Item
    parts: list[_Item]


class _Export(msgspec.Struct):
    info: _Item
    messages: list[_Message]
