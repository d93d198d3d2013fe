"""``tt history``: rounds that have ended, and one of them in full. Their output is `logs`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click
import msgspec
from tinytown.client import TownClient
from tinytown.errors import NotFound, UsageError
from tinytown.kernel import Transcript, read_transcript
from tinytown.model.round_records import RoundRecord
from tinytown.model.text import counted, shown
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.formatting import table
from tinytown_cli.framework import TownCommand
from tinytown_cli.params import AGENT, ROUND, TASK

#: What `--round` takes for "the latest but so many" and not for the beginning of an id.
_ORDINAL = re.compile(r"[1-9][0-9]{0,2}")

_SHORT = 8
_RESULT = 200


@click.command(
    cls=TownCommand,
    examples=["tt history", "tt history worker --limit 5", "tt history --task 1f3a", "tt history worker --round 1"],
)
@click.argument("agent", required=False, type=AGENT)
@click.option("--task", type=TASK, metavar="TASK", help="Only rounds on this task.")
@click.option(
    "--round",
    "word",
    type=ROUND,
    metavar="RUN",
    help="One round in full: its id, or 1 for AGENT's latest, 2 for the one before.",
)
@click.option(
    "-n", "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="The latest so many."
)
@pass_cli_context
def history(context: CliContext, agent: str | None, task: str | None, word: str | None, limit: int) -> None:
    """The rounds that have ended, of AGENT or of all, the latest last: how they ended, how long they took, what they used."""
    with context.open_town() as town:
        if word is not None:
            record = find_round(town, agent, word)
            transcript = read_transcript(town.root, record.agent, record.round_id)
            context.emit(_shape([record], transcript), _in_full(record, transcript))
            return
        records = town.run(town.operations.rounds(agent, task=task or "", limit=limit))[::-1]
        if task and not records:
            town.run(town.operations.task(task))  # says so when there is no such task
    context.emit(_shape(records), history_table(records) if records else ["no rounds yet"])


def find_round(town: TownClient, agent: str | None, word: str) -> RoundRecord:
    """The round that `word` means: the beginning of its id, or, counted from the latest, its number among those of `agent`.

    One that has not ended yet has the outcome ``running``. Raises: NotFound, UsageError for an ambiguous word.
    """
    name = town.run(town.operations.agent(agent)).name if agent is not None else None
    if _ORDINAL.fullmatch(word):
        if name is None:
            raise UsageError(f"expected an agent beside the number {word}", hint=f"tt history AGENT --round {word}")
        records = town.run(town.operations.rounds(name, limit=int(word)))
        if len(records) < int(word):
            raise NotFound(
                f"{name} has {counted(len(records), 'round')} on record, not {word}",
                hint=f"tt history {name} shows them",
            )
        return records[-1]
    found = [*town.run(town.operations.rounds(name, round_id=word, limit=9))] if word else []
    if not found:
        found = [each for each in _in_progress(town, word) if name in (None, each.agent)]
    if not found:
        raise NotFound(f"no round {shown(word)!r} on record", hint="tt history shows them")
    if len(found) > 1:
        names = ", ".join(each.round_id for each in found[:8])
        raise UsageError(
            f"more than one round begins with {shown(word)!r}: {names}", hint="write more of the id", code="ambiguous"
        )
    return found[0]


def _in_progress(town: TownClient, word: str) -> list[RoundRecord]:
    return [
        RoundRecord(
            round_id=each.round_id,
            outcome="running",
            agent=each.name,
            cli=each.cli,
            task=each.current_task,
            session_id=each.session_id,
            began_at=each.since or "",
        )
        for each in town.run(town.operations.agents())
        if each.round_id and word and each.round_id.startswith(word)
    ]


def round_shape(record: RoundRecord) -> dict[str, Any]:
    """A round. Members that a backend did not tell are null."""
    shape: dict[str, Any] = msgspec.to_builtins(record)
    return shape | {"run": record.round_id}  # its former name, for one release


def _shape(records: Sequence[RoundRecord], transcript: Transcript | None = None) -> dict[str, Any]:
    told = None if transcript is None else msgspec.to_builtins(transcript)
    return {"rounds": [round_shape(each) for each in records], "transcript": told}


def history_table(records: Sequence[RoundRecord]) -> list[str]:
    """Rounds as a table for people."""
    rows = [
        (
            _clock(each.ended_at),
            each.agent,
            each.round_id[:_SHORT],
            (each.task or "")[:_SHORT],
            each.outcome,
            duration(each.duration_s),
            tokens(each),
            cost(each),
            shown(each.reason or each.text.strip().rpartition("\n")[2], _RESULT),
        )
        for each in records
    ]
    return table(("ended", "agent", "round", "task", "outcome", "took", "tokens", "cost", "result"), rows)


def _in_full(record: RoundRecord, transcript: Transcript | None) -> list[str]:
    used = record.usage or {}
    lines = [
        f"round    {record.round_id}: {record.outcome}" + (f" ({shown(record.reason, 500)})" if record.reason else ""),
        f"agent    {record.agent}, kind {record.cli}" + (f", on {record.host}" if record.host else ""),
        f"task     {record.task or 'none'}",
        f"mail     {', '.join(record.messages) or 'none'}",
        f"time     {record.began_at} to {record.ended_at or 'now'}, {duration(record.duration_s)}",
        f"used     {', '.join(f'{name} {value}' for name, value in used.items() if value) or 'not told'}",
        f"session  {record.session_id or 'none'}",
    ]
    if transcript is None:
        where = f"lies on {record.host}, or is too old" if record.host else "is not here"
        lines += ["", f"What it was told and what it said {where}."]
        return lines + (["", "answer:", record.text] if record.text else [])
    left_out = transcript.prompt_bytes - len(transcript.prompt.encode())
    lines += ["", "prompt:", transcript.prompt.rstrip("\n")]
    lines += [f"[{left_out} bytes more]"] if left_out > 0 else []
    lines += ["", "last output:", transcript.tail] if transcript.tail else []
    return lines + (
        ["", "answer:", record.text] if record.text and record.text.strip() != transcript.tail.strip() else []
    )


def duration(seconds: float) -> str:
    """A length of time for people: ``0.4 s``, ``12 s``, ``3:05``, ``1:02:03``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def tokens(record: RoundRecord) -> str:
    """Tokens in and out, shortened: ``12.3k+450``; empty when the backend did not tell."""
    used = record.usage or {}
    into, out = used.get("input_tokens") or 0, used.get("output_tokens") or 0
    return f"{_short(into)}+{_short(out)}" if into or out else ""


def cost(record: RoundRecord) -> str:
    """The money, as far as the backend told."""
    told = (record.usage or {}).get("cost_usd")
    return "" if told is None else f"${told:.2f}" if told >= 0.1 else f"${told:.4f}"


def _short(number: float) -> str:
    for limit, unit in ((1_000_000, "M"), (1_000, "k")):
        if number >= limit:
            return f"{number / limit:.1f}{unit}"
    return f"{number:.0f}"


def _clock(at: str) -> str:
    moment = datetime.fromisoformat(at).astimezone() if at else None
    return f"{moment:%m-%d %H:%M:%S}" if moment else ""
