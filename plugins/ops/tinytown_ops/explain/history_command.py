"""``tt history``: finished rounds, and one of them in full. Their output is in `logs_command`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import click
import msgspec
from tinytown.errors import NotFound, UsageError
from tinytown.model.round_records import RoundRecord
from tinytown.model.text import counted, shown
from tinytown_cli import administration
from tinytown_cli.client import TownClient
from tinytown_cli.command_call import forward
from tinytown_cli.context import CliContext, pass_cli_context
from tinytown_cli.doctor_agent import DOCTOR_AGENT
from tinytown_cli.formatting import brief_id, brief_ids, table
from tinytown_cli.framework import TownCommand
from tinytown_cli.params import AGENT, ROUND, TASK

from tinytown_ops.explain.round_files import Transcript, lost_rounds, read_transcript
from tinytown_ops.explain.round_text import clock, cost, duration, tokens

#: What `--round` reads as a number counted from the latest round, not as a prefix of an id.
_ORDINAL = re.compile(r"[1-9][0-9]{0,2}")

_RESULT = 200


@click.command(
    cls=TownCommand,
    examples=[
        "tt history",
        "tt history worker --limit 5",
        "tt history --task 1f3a",
        "tt history worker --round 1",
        "tt history --from-git",
    ],
    scope="town.read",
)
@click.argument("agent", required=False, type=AGENT)
@click.option("--task", type=TASK, metavar="TASK", help="Only rounds on this task.")
@click.option(
    "--round",
    "word",
    type=ROUND,
    metavar="ROUND",
    help="One round in full: its id, or 1 for AGENT's latest, 2 for the one before.",
)
@click.option(
    "-n", "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Maximum number of rounds."
)
@click.option("--from-git", is_flag=True, help="From the ledger in git, which also has what the town has forgotten.")
@pass_cli_context
def history(
    context: CliContext, agent: str | None, task: str | None, word: str | None, limit: int, from_git: bool
) -> None:
    """List finished rounds of AGENT or of all agents, the latest last: outcome, duration, tokens and cost.

    A round whose kernel was killed on this machine is listed as lost, at the time at which it began.
    """
    if from_git:
        if agent is not None or word is not None:
            raise UsageError("expected only --task or --limit with --from-git", hint="tt ledger history --help")
        forward(context, "ledger history", task=task or "", limit=limit)
        return
    with context.open_town() as town:
        if word is not None:
            record = find_round(town, agent, word)
            transcript = read_transcript(town.root, record.agent, record.round_id)
            context.emit(_shape([record], transcript), _in_full(record, transcript))
            return
        found = town.run(administration.rounds(town.operations.keys, agent, task=task or "", limit=limit))
        records = [record for record in reversed(found) if agent or record.agent != DOCTOR_AGENT]
        if task and not records:
            town.run(town.operations.task(task))  # says so when there is no such task
        listed = _with_lost(town, records, agent, task, limit)
    context.emit(_shape(listed), history_table(listed) if listed else ["no rounds yet"])


def _with_lost(
    town: TownClient, records: Sequence[RoundRecord], agent: str | None, task: str | None, limit: int
) -> list[RoundRecord]:
    """The rounds in the order in which they ended, those between them that were lost with a kernel on this machine."""
    try:
        agents = town.run(town.operations.agents()) if agent is None else (town.run(town.operations.agent(agent)),)
    except NotFound:  # it was removed; its rounds are still on record
        return list(records)
    known = {each.round_id for each in agents if each.round_id} | {record.round_id for record in records}
    lost = lost_rounds(town.root, [each.name for each in agents], known=known, limit=limit)
    if task:
        lost = [record for record in lost if (record.task or "").startswith(task)]
    return sorted([*records, *lost], key=lambda record: record.ended_at or record.began_at)[-limit:]


def find_round(town: TownClient, agent: str | None, word: str) -> RoundRecord:
    """The round that `word` names: a prefix of its id, or its number among the rounds of `agent`, counted from the latest.

    A round in progress has the outcome ``running``. Raises: NotFound; UsageError for an ambiguous word.
    """
    name = town.run(town.operations.agent(agent)).name if agent is not None else None
    if _ORDINAL.fullmatch(word):
        if name is None:
            raise UsageError(f"expected an agent with the number {word}", hint=f"tt history AGENT --round {word}")
        records = town.run(administration.rounds(town.operations.keys, name, limit=int(word)))
        if len(records) < int(word):
            raise NotFound(
                f"{name} has {counted(len(records), 'round')} on record, not {word}",
                hint=f"tt history {name} lists them",
            )
        return records[-1]
    matches = [*town.run(administration.rounds(town.operations.keys, name, round_id=word, limit=9))] if word else []
    if not matches and word:
        matches = [record for record in _in_progress(town, word) if name in (None, record.agent)]
        matches = matches or [
            each for each in _with_lost(town, (), agent, None, 1000) if each.round_id.startswith(word)
        ]
    if not matches:
        raise NotFound(f"no round {shown(word)!r} on record", hint="tt history lists rounds")
    if len(matches) > 1:
        ids = ", ".join(record.round_id for record in matches[:8])
        raise UsageError(
            f"more than one round begins with {shown(word)!r}: {ids}", hint="write more of the id", code="ambiguous"
        )
    return matches[0]


def _in_progress(town: TownClient, word: str) -> list[RoundRecord]:
    return [
        RoundRecord(
            round_id=agent.round_id,
            outcome="running",
            agent=agent.name,
            cli=agent.cli,
            task=agent.current_task,
            session_id=agent.session_id,
            began_at=agent.since or "",
        )
        for agent in town.run(town.operations.agents())
        if agent.round_id and agent.round_id.startswith(word)
    ]


def round_shape(record: RoundRecord) -> dict[str, Any]:
    """A round as JSON. What its backend did not report is null."""
    shape: dict[str, Any] = msgspec.to_builtins(record)
    return shape | {"run": record.round_id}  # its former name, for one release


def _shape(records: Sequence[RoundRecord], transcript: Transcript | None = None) -> dict[str, Any]:
    return {"rounds": [round_shape(record) for record in records], "transcript": transcript}


def history_table(records: Sequence[RoundRecord]) -> list[str]:
    """Rounds as a table for people."""
    ids = brief_ids(record.round_id for record in records)
    rows = [
        (
            clock(record.ended_at or record.began_at),
            record.agent,
            ids[record.round_id],
            brief_id(record.task or "") + (f" +{len(record.tasks) - 1}" if len(record.tasks) > 1 else ""),
            record.outcome,
            duration(record.duration_s) if record.ended_at else "",
            tokens(record),
            cost(record),
            shown(record.reason or record.text.strip().rpartition("\n")[2], _RESULT),
        )
        for record in records
    ]
    return table(("ended", "agent", "round", "task", "outcome", "duration", "tokens", "cost", "result"), rows)


def _in_full(record: RoundRecord, transcript: Transcript | None) -> list[str]:
    used = record.usage or {}
    lines = [
        f"round    {record.round_id}: {record.outcome}" + (f" ({shown(record.reason, 500)})" if record.reason else ""),
        f"agent    {record.agent}, kind {record.cli}" + (f", on {record.host}" if record.host else ""),
        f"task     {', '.join(record.tasks) or record.task or 'none'}",
        f"mail     {', '.join(record.messages) or 'none'}",
        f"time     {record.began_at} to {record.ended_at or 'now'}, {duration(record.duration_s)}",
        f"used     {', '.join(f'{name} {value}' for name, value in used.items() if value) or 'not reported'}",
        f"session  {record.session_id or 'none'}",
    ]
    if transcript is None:
        where = f"is on {record.host}, or has expired" if record.host else "is not on this machine"
        lines += ["", f"The transcript {where}."]
        return lines + (["", "answer:", record.text] if record.text else [])
    left_out = transcript.prompt_bytes - len(transcript.prompt.encode())
    lines += ["", "prompt:", transcript.prompt.rstrip("\n")]
    lines += [f"[{left_out} more bytes]"] if left_out > 0 else []
    lines += ["", "last output:", transcript.tail] if transcript.tail else []
    return lines + (
        ["", "answer:", record.text] if record.text and record.text.strip() != transcript.tail.strip() else []
    )
