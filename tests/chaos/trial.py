"""One trial: tasks with needs and priorities and mail for twenty agents, harm meanwhile, and the count at the end."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import trio
from tinytown.model.ids import SUPERVISOR
from tinytown.model.messages import PRIORITIES, Informational, Priority
from tinytown.protocol.keys import KEYS
from tinytown.town import Town

from .findings import Findings, Given, completed_more_than_once, missing, out_of_order, read_log, repeated
from .harm import TAKEOVER_BOUND_S, Harm
from .stage import Stage, insist, open_stage

AGENTS = 20
NOTES_A_TASK = 0.5
NEEDING = 0.2  # of the tasks

_KNOWN = [
    re.compile(":".join("[^:]+" if part.startswith("<") else re.escape(part) for part in pattern.split(":")))
    for pattern in KEYS
]


class Work:
    """What is given to the agents, and in which order."""

    def __init__(self, town: Town, chance: random.Random) -> None:
        self._town = town
        self._chance = chance
        self.tasks: list[Given] = []
        self.notes: list[Given] = []
        self.ids: list[str] = []
        self._number = 0

    async def give(self, count: int) -> None:
        """So many more tasks, and mail in between."""
        chance = self._chance
        for _ in range(count):
            while chance.random() < NOTES_A_TASK / (1 + NOTES_A_TASK):
                note = self._given(chance.choice(PRIORITIES))
                body = Informational(summary=f"chaos-note {note.priority} {note.number}")
                await insist(
                    self._town, self._town.operations.send(note.agent, body, sender=SUPERVISOR, priority=note.priority)
                )
                self.notes.append(note)
            needs = (
                chance.sample(self.ids, min(len(self.ids), chance.randint(1, 3))) if chance.random() < NEEDING else []
            )
            task = self._given(chance.choice(PRIORITIES), waits=bool(needs))
            way = chance.choice(["plain", "plain", "shelled", "straying"])
            duration_s = chance.choice(["0", "0.02", "0.1"])
            call = self._town.operations.add_task(
                f"chaos-task {task.number} {task.priority} {duration_s} {way}",
                agent=task.agent,
                priority=task.priority,
                needs=needs,
            )
            self.ids.append((await insist(self._town, call)).task.id)
            self.tasks.append(task)

    def _given(self, priority: Priority, *, waits: bool = False) -> Given:
        self._number += 1
        return Given(self._number, f"a{self._chance.randrange(AGENTS)}", priority, waits)


async def run_trial(seed: int, *, tasks: int, faults: int, deadline_s: float) -> Findings:
    """A whole trial. What is struck, and what work there is, follows from the seed; when things happen does not, quite.

    Raises: trio.TooSlowError when the work is not done by then.
    """
    began = trio.current_time()
    with trio.fail_after(deadline_s):
        async with open_stage() as stage, stage.watch() as town:
            for number in range(AGENTS):
                await town.spawn(f"a{number}")
            work = Work(town, random.Random(seed))
            harm = Harm(stage, town, random.Random(seed + 1))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(harm.pick_off)
                for number in range(faults):
                    await work.give(tasks * (number + 1) // faults - len(work.tasks))
                    await harm.strike()
                nursery.cancel_scope.cancel()
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
    events = await _all_events(town)
    letters = await town.dead_letters()
    states = {task.id: task.state for task in await town.tasks(limit=len(work.ids))}
    unfinished = [f"{task_id} {states.get(task_id)}" for task_id in work.ids if states.get(task_id) != "completed"]
    strays = await _stray_keys(town)
    exits = [
        f"kernel in {host.root.name} ended with {code}" for host in stage.hosts if (code := await _stop(host)) != 0
    ]
    left = [f"{pid} {_command(pid)}" for host in stage.hosts for pid in host.processes()]
    return Findings(
        lost_tasks=unfinished + [f"number {number} was never done" for number in missing(work.tasks, log.done)],
        lost_notes=missing(work.notes, log.told),
        completed_twice=completed_more_than_once(events),
        tasks_out_of_order=out_of_order(work.tasks, log.begun),
        notes_out_of_order=out_of_order(work.notes, log.told),
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
        notes_repeated=repeated(log.told),
    )


async def _all_events(town: Town) -> list[Any]:
    events: list[Any] = []
    while batch := await town.run(town.operations.events_after(events[-1].id if events else "0", count=10_000)):
        events += batch
    return events


async def _stray_keys(town: Town) -> list[str]:
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
