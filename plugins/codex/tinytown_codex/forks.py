"""Sessions of Codex that are to be forked: their files, called rollouts, and those of the sessions that they are forks of.

Source: Codex 0.171.0, seen running: ``sessions/YEAR/MONTH/DAY/rollout-TIME-ID.jsonl`` below its home directory, one record a
line. The first, `session_meta`, names in `forked_from_id` the session whose file has what came before; without that file it
cannot be resumed. `token_count` records what the session has consumed until then, forks included.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tinytown.contracts import Usage
from tinytown_adapters import CliSessionRecord, CliSettings, Record, RunRequest, SessionSource, TakenSession, record_of

_MOST_ANCESTORS = 20
_ID = re.compile(r"[0-9a-f-]+")
_TOTALS = b'"type":"token_count"'


def take_rollouts(source: SessionSource, request: RunRequest[CliSettings], user_home: Path) -> TakenSession:
    """The session as Codex finds it by its id: its files are copied unless the agent and the other one share their home.

    Raises: SessionNotForked. Blocks while it reads.
    """
    own_home = request.state_directory if request.has_own_state else user_home
    for home in (source.work_dir / "state", user_home):
        if files := dict(_rollouts(source, home)):
            session = CliSessionRecord(
                id=source.session_id, agent_id="", directory="", used=_consumed([*files.values()])
            )
            if home == own_home:
                return TakenSession(session)
            if request.has_own_state:
                copied = {f"state/{path}": content for path, content in files.items()}
                return TakenSession(session, {name: copied[name] for name in copied if _is_news(request, name, copied)})
    raise source.gone


def _rollouts(source: SessionSource, home: Path) -> Iterator[tuple[str, bytes]]:
    """The paths below a home and the contents of a session's file and of those that it builds on, the latest first."""
    session_id = source.session_id
    for _ in range(_MOST_ANCESTORS):
        found = source.read(home, f"sessions/*/*/*/rollout-*-{session_id}.jsonl")
        if found is None:
            return
        path, content = found
        yield path, content[: content.rfind(b"\n") + 1]  # the last line may be in the middle of being written
        session_id = _record(content.partition(b"\n")[0]).text("payload", "forked_from_id")
        if not _ID.fullmatch(session_id):
            return


def _is_news(request: RunRequest[CliSettings], name: str, files: Mapping[str, bytes]) -> bool:
    """Whether the agent has less of a file, which only ever grows: what a fork builds on may be a session of the agent's own."""
    try:
        return (request.work_dir / name).stat().st_size < len(files[name])
    except OSError:
        return True


def _record(line: bytes) -> Record:
    return record_of(line.decode("utf-8", "replace")) or Record({})


def _consumed(rollouts: list[bytes]) -> Usage | None:
    """What a session has consumed in all, by the latest record of it."""
    for content in rollouts:
        for line in reversed(content.split(b"\n")):
            if _TOTALS in line:
                total = _record(line).record("payload", "info", "total_token_usage")
                if total:
                    return Usage(
                        input_tokens=total.count("input_tokens"),
                        output_tokens=total.count("output_tokens"),
                        cached_tokens=total.count("cached_input_tokens"),
                    )
    return None
