"""One run: work and harm at the same time, then everything is healed and the town comes to rest, and the count."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import trio
from tinytown.model.events import event_fields
from tinytown.model.ids import SUPERVISOR
from tinytown.town import Town
from tinytown_cli import administration
from tinytown_ops.costs import ledger

from tests.chaos.findings import completed_more_than_once, repeated
from tests.chaos.stage import insist
from tests.chaos.trial import all_events, stray_keys

from .findings import Findings, bills, compare_ledger, seen_mid_round, unseen
from .harm import Harm
from .seats import Seat
from .stage import Stage, open_stage
from .work import Work

_LAST_S = 240.0  # for looking at what has become of it
_REPORTED_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds, on average but for `outage_s`: between what is given, of an outage, and between blows of one sort."""

    work_s: float
    outage_s: tuple[float, float]
    blow_s: float


STEADY = Pace(5.0, (20.0, 90.0), 30.0)
BRISK = Pace(2.0, (5.0, 15.0), 6.0)


def _say_nothing(line: str) -> None:
    pass


async def run_trial(
    seed: int,
    seats: Sequence[Seat],
    *,
    harm_s: float,
    peace_s: float,
    pace: Pace,
    keep: bool = False,
    say: Callable[[str], None] = _say_nothing,
) -> Findings:
    """A whole run. What is struck, and what work there is, follows from the seed; when things happen does not, quite.

    Work and harm last for `harm_s`; what is not done `peace_s` later is lost. With `keep` the town's directory stays, with
    all that was counted in it. `say` gets a line a minute.
    """
    began = trio.current_time()
    async with open_stage(seats, keep=keep) as stage, stage.watch() as town:
        for seat in seats:
            await town.spawn(seat.name, cli=seat.kind)
        work = Work(town, seats, random.Random(seed), stage.begun_agents)
        harm = Harm(stage, random.Random(seed + 1), pace.outage_s, pace.blow_s)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_report, stage, town, work, harm, say)
            with trio.move_on_after(harm_s):
                async with trio.open_nursery() as harmful:
                    harmful.start_soon(work.give, pace.work_s)
                    harmful.start_soon(harm.fail_model)
                    harmful.start_soon(harm.strike_town)
                    harmful.start_soon(harm.kill_clis)
            with trio.move_on_after(peace_s):
                await _come_to_rest(town)
            nursery.cancel_scope.cancel()
        with trio.fail_after(_LAST_S):
            return await _judge(stage, town, work, harm, seed, trio.current_time() - began)


async def _report(stage: Stage, town: Town, work: Work, harm: Harm, say: Callable[[str], None]) -> None:
    began = trio.current_time()
    while True:
        await trio.sleep(_REPORTED_EVERY_S)
        status = await insist(town, town.operations.status())
        tasks = ", ".join(f"{count} {state}" for state, count in status.tasks.items() if count)
        agents = "; ".join(f"{agent.name} {agent.state} {agent.reason or ''}".strip() for agent in status.agents)
        say(
            f"{trio.current_time() - began:5.0f} s: {sum(harm.struck.values())} faults, {len(stage.models.asked)} requests,"
            f" {len(work.letters)} letters, tasks {tasks}; {agents}"
        )


async def _come_to_rest(town: Town) -> None:
    """Wait until every task is finished and all mail is read. An agent in error is for the count: waiting does not raise."""
    while True:
        status = await insist(town, town.operations.status())
        if all(agent.at_rest for agent in status.agents):
            return
        await trio.sleep(1)


async def _judge(stage: Stage, town: Town, work: Work, harm: Harm, seed: int, duration_s: float) -> Findings:
    keys, models, log = town.operations.keys, stage.models, stage.log
    await trio.sleep(2)  # the last answers are on their way
    events = await all_events(town)
    tasks = {number: await town.task(task_id) for number, task_id in work.tasks.items()}
    agents = await town.agents()
    records = await town.run(administration.rounds(keys, limit=5000))
    dead = await town.run(administration.dead_letters(keys))
    costs = await town.run(ledger.costs(keys))
    accounts = await town.run(ledger.accounts(keys))
    inbox = await town.inbox(SUPERVISOR, limit=5000)
    strays = await stray_keys(town)
    if stage.is_kept:
        kept: dict[str, Any] = {
            "events": [event_fields(event) for event in events],
            "tasks": tasks,
            "rounds": records,
            "costs": costs,
            "inbox": inbox,
            "letters": work.letters,
            "asked": models.asked,
            "seen": list(models.seen.items()),
            "written": models.written,
        }
        (stage.home / "kept.json").write_bytes(msgspec.json.encode(kept))
    now = datetime.now(UTC).isoformat()
    done = {number for _, _, number in log.done}
    shelled = {seat.name for seat in stage.seats if seat.has_shell}
    merged = stage.merged_files()
    questions = [letter for letter in work.letters if letter.is_question]
    answered = {message.correlation_id for message in inbox}
    lines, wrong = bills(records, models.asked, stage.seats)
    codes = {"tt gc": await trio.to_thread.run_sync(stage.tidy)}
    codes["tt stop"], codes["kernel"] = await trio.to_thread.run_sync(stage.stop)
    return Findings(
        lost_tasks=[
            f"{number} of {work.agents[number]}: {task.state}, {task.reason or ''}"
            for number, task in tasks.items()
            if task.state != "completed" or (number not in done and work.agents[number] in shelled)
        ],
        completed_twice=completed_more_than_once(events),
        at_once=[f"{number} of {agent}" for agent, _, number in log.at_once],
        not_merged=[f"{number} of {work.agents[number]}" for number in tasks if f"task-{number}.txt" not in merged],
        lost_letters=unseen(work.letters, models.seen, models.written),
        lost_answers=[f"{letter.word} to {letter.agent}" for letter in questions if letter.message not in answered],
        dead_letters=[f"{letter.id} of {letter.agent}: {letter.reason}" for letter in dead],
        wrong_costs=[*wrong, *compare_ledger(records, costs.total), *models.strangers],
        agents_in_error=[f"{agent.name}: {agent.reason}" for agent in agents if agent.state == "error"],
        accounts_parked=[
            f"{account.name} until {account.parked_until}" for account in accounts if (account.parked_until or "") > now
        ],
        stray_keys=strays,
        bad_exits=[*harm.bad_exits, *(f"{what} ended with {code}" for what, code in codes.items() if code)],
        left=await trio.to_thread.run_sync(stage.left),
        seed=seed,
        duration_s=duration_s,
        agents={seat.name: seat.kind for seat in stage.seats},
        tasks=len(work.tasks),
        letters=len(work.letters) - len(questions),
        questions=len(questions),
        seen_mid_round=seen_mid_round(records, work.letters, models.seen),
        begun_again=repeated(log.begun),
        rounds=Counter(record.outcome for record in records),
        requests=len(models.asked),
        struck=harm.struck,
        bills=lines,
    )
