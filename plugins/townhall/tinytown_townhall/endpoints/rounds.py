"""What rounds left behind: records, transcripts, and the logs of agents, as far as this machine has them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Annotated

import msgspec
import trio
from starlette.responses import Response
from tinytown.errors import NotFound
from tinytown.kernel import log_path
from tinytown.model.round_records import RoundRecord
from tinytown.model.text import shown
from tinytown_cli import administration
from tinytown_cli.public import DOCTOR_AGENT
from tinytown_ops.explain.log_file import Log, readable
from tinytown_ops.explain.round_files import Transcript, read_transcript

from tinytown_townhall.event_stream import EventStream, sse
from tinytown_townhall.routing import Call, Endpoints

ROUNDS = Endpoints("rounds")
_POLL_S = 0.4
_LINE_CHARACTERS = 4_000


class RoundQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rounds of an agent, or on a task."""

    agent: str = ""
    task: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50


class LogQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many of the last lines."""

    lines: Annotated[int, msgspec.Meta(ge=1, le=5_000)] = 200


class Rounds(msgspec.Struct, frozen=True, kw_only=True):
    """Rounds that have ended, the newest first."""

    rounds: tuple[RoundRecord, ...]


class RoundDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A round, with its prompt and last output if this machine has them."""

    round: RoundRecord
    transcript: Transcript | None


class LogLines(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of an agent's log, the oldest first."""

    agent: str
    lines: Sequence[str]


@ROUNDS.get("/v1/rounds")
async def list_rounds(call: Call, query: RoundQuery) -> Rounds:
    """The latest rounds that have ended, the newest first."""
    operation = administration.rounds(
        call.town.operations.keys, query.agent or None, task=query.task, limit=query.limit
    )
    found = await call.run(operation)
    return Rounds(rounds=tuple(each for each in found if query.agent or each.agent != DOCTOR_AGENT))


@ROUNDS.get("/v1/rounds/{round_id}")
async def show_round(call: Call, round_id: str) -> RoundDetails:
    """One round by its id, or the beginning of it."""
    found = await call.run(administration.rounds(call.town.operations.keys, round_id=round_id, limit=1))
    if not found:
        raise NotFound(f"no round {shown(round_id)!r}", hint="old rounds are not kept: rounds_kept in [limits]")
    record = found[0]
    transcript = await trio.to_thread.run_sync(read_transcript, call.town.root, record.agent, record.round_id)
    return RoundDetails(round=record, transcript=transcript)


@ROUNDS.get("/v1/agents/{agent}/log")
async def show_log(call: Call, agent: str, query: LogQuery) -> LogLines:
    """The last lines that an agent's rounds printed on this machine."""
    name = (await call.run(call.town.operations.agent(agent))).name
    log = Log(log_path(call.town.root, name))
    lines = await trio.to_thread.run_sync(lambda: [_line(raw) for raw in log.last_lines(query.lines)])
    return LogLines(agent=name, lines=lines)


@ROUNDS.get("/v1/agents/{agent}/log/stream", media_type="text/event-stream")
async def stream_log(call: Call, agent: str, query: LogQuery) -> Response:
    """An agent's log as server-sent events: each has an array of lines; first the last ones, then new ones."""
    name = (await call.run(call.town.operations.agent(agent))).name

    async def read() -> AsyncGenerator[bytes]:
        log = Log(log_path(call.town.root, name))
        lines = await trio.to_thread.run_sync(lambda: [_line(raw) for raw in log.last_lines(query.lines)])
        yield sse(msgspec.json.encode(lines), event="lines")
        while True:
            await trio.sleep(_POLL_S)
            lines = await trio.to_thread.run_sync(lambda: [_line(raw) for raw in log.new_lines()])
            if lines:
                yield sse(msgspec.json.encode(lines), event="lines")

    return EventStream(read, call.hall.closing)


def _line(raw: bytes) -> str:
    return readable(raw.decode("utf-8", "replace").rstrip("\r\n"))[:_LINE_CHARACTERS]
