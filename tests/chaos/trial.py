"""One trial: tasks with needs and priorities and mail for twenty agents, harm meanwhile, and the count at the end."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import trio
from tinytown.town import Town
from tinytown_cli import administration
from tinytown_testing.keys import KEYS

from .findings import Findings, completed_more_than_once, missing, out_of_order, read_log, repeated
from .harm import TAKEOVER_BOUND_S, Harm
from .stage import Stage, insist, open_stage
from .work import AGENTS, Work

_LAST_S = 60.0  # for looking at what has become of it
_KNOWN = [
    re.compile(":".join("[^:]+" if part.startswith("<") else re.escape(part) for part in pattern.split(":")))
    for pattern in KEYS
]


async def run_trial(seed: int, *, tasks: int, faults: int, deadline_s: float) -> Findings:
    """A whole trial. What is struck, and what work there is, follows from the seed; when things happen does not, quite.

    What is not done at the deadline is stuck. Raises: trio.TooSlowError when not even that can be found out.
    """
    began = trio.current_time()
    with trio.fail_after(deadline_s + _LAST_S):
        async with open_stage() as stage, stage.watch() as town:
            for number in range(AGENTS):
                await town.spawn(f"a{number}")
            work = Work(town, random.Random(seed))
            harm = Harm(stage, town, random.Random(seed + 1))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(harm.pick_off)
                nursery.start_soon(harm.operate, work)
                for number in range(faults):
                    await work.give(tasks * (number + 1) // faults - len(work.tasks))
                    await harm.strike()
                nursery.cancel_scope.cancel()
            stage.set_clock(0)
            with trio.move_on_at(began + deadline_s):
                await _finish(stage, town, tasks)
                await harm.settle()
            return await _judge(stage, town, work, harm, seed, trio.current_time() - began)


async def _finish(stage: Stage, town: Town, tasks: int) -> None:
    """Wait until every task has come to an end and all mail has been read."""

    async def look() -> bool:
        for host in stage.hosts:
            host.keep_running()
        counts = (await insist(town, town.operations.status(agents=False))).tasks
        return counts["completed"] + counts["failed"] + counts["cancelled"] == tasks

    await town.wait_until(look, bool)
    await town.wait_for_idle()


async def _judge(stage: Stage, town: Town, work: Work, harm: Harm, seed: int, duration_s: float) -> Findings:
    log = read_log(stage.log.read_text())
    lost_notes = missing(work.notes, log.reported)
    events = await all_events(town)
    letters = await town.run(administration.dead_letters(town.operations.keys))
    states = {task.id: task.state for task in await town.tasks(limit=len(work.ids))}
    unfinished = [f"{task_id} {states.get(task_id)}" for task_id in work.ids if states.get(task_id) != "completed"]
    strays = await stray_keys(town)
    stuck = [each for each in unfinished if each.split()[-1] not in ("failed", "cancelled", "None")]
    exits = harm.bad_exits + [
        f"kernel in {host.root.name} ended with {code}" for host in stage.hosts if (code := await _stop(host)) != 0
    ]
    left = [f"{pid} {_command(pid)}" for host in stage.hosts for pid in host.processes()]
    return Findings(
        lost_tasks=unfinished + [f"number {number} was never done" for number in missing(work.tasks, log.done)],
        lost_notes=lost_notes,
        histories=[await _history(town, work.note_ids[number]) for number in lost_notes],
        completed_twice=completed_more_than_once(events),
        tasks_out_of_order=out_of_order(work.given_tasks, log.begun),
        notes_out_of_order=out_of_order(work.notes, log.reported),
        at_once=list(log.at_once),
        stuck=stuck,
        processes_left=left,
        unexplained_dead_letters=[letter.id for letter in letters if not letter.reason],
        not_taken_over=harm.never_taken_over,
        taken_over_late_s=[each for each in harm.takeovers_s if each > TAKEOVER_BOUND_S],
        stray_keys=strays,
        bad_exits=exits,
        seed=seed,
        tasks=len(work.tasks),
        notes=len(work.notes),
        duration_s=duration_s,
        struck=harm.struck,
        takeovers_s=harm.takeovers_s,
        dead_letters=len(letters),
        runs_repeated=repeated(log.begun),
        notes_repeated=repeated(log.reported),
    )


async def _history(town: Town, message_id: str) -> list[str]:
    """What is known of a message, and of the rounds that had it."""
    keys = town.operations.keys
    lines = [f"{line.at} {line.what}" for line in await town.run(administration.trace(keys, message_id))]
    for record in await town.run(administration.rounds(keys, limit=5000)):
        if message_id in record.messages:  # of an agent, the latest alone are kept
            lines.append(
                f"{record.began_at} to {record.ended_at} {record.agent} {record.outcome}: {record.reason} {record.text}"
            )
    for agent in await town.agents():
        inbox = await town.run(town.operations.peek(agent.name, limit=5000))
        lines += [
            f"{entry.place} at {agent.name}, {agent.state}, {agent.mail}"
            for entry in inbox.messages
            if entry.message and entry.message.id == message_id
        ]
    return lines


async def all_events(town: Town) -> list[Any]:
    events: list[Any] = []
    while batch := await town.run(town.operations.events_after(events[-1].id if events else "0", count=10_000)):
        events += batch
    return events


async def stray_keys(town: Town) -> list[str]:
    """Keys of the town that nothing describes: left over from a change that was cut in half."""
    base = town.operations.keys.base
    keys = [key.decode() for key in await town.link.command("KEYS", f"{base}:*")]
    return [key for key in keys if not any(known.fullmatch(key[len(base) + 1 :]) for known in _KNOWN)]


async def _stop(host: Any) -> int:
    code: int = await trio.to_thread.run_sync(host.stop)
    return code


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:100]
    except OSError:
        return "gone"
