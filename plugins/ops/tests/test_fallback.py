"""Another kind of agents stands in while an account is parked, and for a model that cannot do a task."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tinytown.contracts import Failed, Finished, Outcome, RateLimited, Unauthorized, Unavailable
from tinytown.model.tasks import Task
from tinytown_cli.administration import reopen_task
from tinytown_cli.client import TownClient, open_town_client
from tinytown_ops.fallback.hand_over import Declined, declined_by, hand_over
from tinytown_ops.fallback.stand_ins import kinds_left
from tinytown_testing.sandbox import changed_environment
from tinytown_testing.shell import Shell

REFUSAL = Failed(reason="I can't help with that.", retryable=False, cause="refused")
TOO_LONG = Failed(reason="prompt is too long", retryable=False, cause="context_too_long")
FALLBACK = '[plugins.ops.fallback]\nscripted = ["third", "second"]\n'
UNKNOWN_MODEL = Unavailable(reason="no such model", hint="set the model")


@pytest.fixture
def town(tt: Shell) -> Iterator[TownClient]:
    """A town without agents and without a kernel."""
    tt("init", "--name", "calm")
    home = {"XDG_STATE_HOME": tt.variables["XDG_STATE_HOME"]}
    with changed_environment(home), open_town_client(tt.directory) as client:
        yield client


@pytest.fixture
def kinds(town_dir: Any, scripted_backend: Any) -> Any:
    """The kinds scripted, second and third, of which the last is the first to stand in for the first."""
    scripted = type(scripted_backend.backends[0])
    scripted_backend.backends += [scripted("second"), scripted("third")]
    town_dir.configure(FALLBACK)
    return scripted_backend


@pytest.mark.parametrize(
    "trouble", [RateLimited(retry_after_s=3600), Unauthorized(reason="no login", hint="log in"), UNKNOWN_MODEL]
)
async def test_its_waiting_tasks_go_to_the_first_kind_that_can_work(
    town_dir: Any, kinds: Any, trouble: Outcome
) -> None:
    async def script(work: Any, report: Any) -> Outcome:
        return trouble if work.environment["TINYTOWN_AGENT_NAME"] == "ada" else Finished(text="done")

    kinds.script = script
    async with town_dir.open() as town:
        ada = await town.spawn("ada")
        for name, kind, role in (("ben", "second", ""), ("cleo", "third", "reviewer"), ("dan", "third", "")):
            await (await town.spawn(name, cli=kind, **({"role": role} if role else {}))).wait_for_idle()
        tasks = [await ada.assign(f"number {number}") for number in range(2)]
        done = [await town.wait_for_task(task.id) for task in tasks]
        assert [(task.state, task.assigned_to) for task in done] == [("completed", "dan")] * 2
        events = await town_dir.wait_for_events(town, 2, "task_fell_back")
        assert {(event["from"], event["to"]) for event in events} == {("ada", "dan")}


async def test_without_anybody_to_stand_in_they_wait(town_dir: Any, kinds: Any) -> None:
    outcomes: list[Outcome] = [RateLimited(retry_after_s=0.5), Finished(text="done")]

    async def script(work: Any, report: Any) -> Outcome:
        return outcomes.pop(0)

    kinds.script = script
    async with town_dir.open() as town:
        ada = await town.spawn("ada")
        await town.spawn("cleo", cli="third", role="reviewer")
        task = await town.wait_for_task((await ada.assign("it")).id)
        assert (task.state, task.assigned_to) == ("completed", "ada")


def answers(kinds: Any, **by_agent: Outcome) -> None:
    """Have each agent end its rounds in its own way; whoever is not named completes them."""

    async def script(work: Any, report: Any) -> Outcome:
        name = work.environment["TINYTOWN_AGENT_NAME"]
        return by_agent.get(name, Finished(text=f"done by {name}"))

    kinds.script = script


async def spawn(town: Any, **kind_of: str) -> Any:
    """Agents by name and kind; the first of them."""
    agents = [await town.spawn(name, cli=kind) for name, kind in kind_of.items()]
    for agent in agents:
        await agent.wait_for_idle()
    return agents[0]


@pytest.mark.parametrize("outcome", [REFUSAL, TOO_LONG])
async def test_what_a_model_cannot_do_goes_from_kind_to_kind_and_never_fails_meanwhile(
    town_dir: Any, kinds: Any, outcome: Failed
) -> None:
    answers(kinds, ada=outcome, cleo=outcome)
    town_dir.configure(FALLBACK, max_attempts=1)
    async with town_dir.open() as town:
        ada = await spawn(town, ada="scripted", ben="second", cleo="third")
        task = await ada.assign("it")
        after = await town.add_task("build on it", agent="ben", needs=[task.id])
        done = await town.wait_for_task(task.id)
        assert (done.state, done.assigned_to, done.result, done.attempts) == ("completed", "ben", "done by ben", 1)
        assert (await town.wait_for_task(after.id)).state == "completed"
        assert [(each.agent, each.cli, each.reason) for each in declined_by(done)] == [
            ("ada", "scripted", outcome.reason),
            ("cleo", "third", outcome.reason),
        ]
        moves = await town_dir.wait_for_events(town, 2, "task_fell_back", task=task.id)
        assert [(event["from"], event["to"], event["reason"]) for event in moves] == [
            ("ada", "cleo", outcome.reason),
            ("cleo", "ben", outcome.reason),
        ]
        changes = await town_dir.wait_for_events(town, 1, "task_state_changed", task=task.id, new="completed")
        assert not town_dir.recorded("task_state_changed", task=task.id, new="failed"), changes
        ended = await town_dir.wait_for_events(town, 3, "round_ended", task=task.id)
        assert ended[0]["reason"] == f"{outcome.reason}; given to cleo (third)"
        assert (
            "taken over from ada" in next(work for work in kinds.rounds if work.round_id == ended[1]["round_id"]).prompt
        )


async def test_what_every_kind_declines_fails_with_all_reasons_and_begins_anew_once_given_back(
    town_dir: Any, kinds: Any
) -> None:
    answers(kinds, ada=REFUSAL, ben=TOO_LONG, cleo=REFUSAL)
    async with town_dir.open() as town:
        ada = await spawn(town, ada="scripted", ben="second", cleo="third")
        task = await town.wait_for_task((await ada.assign("it")).id)
        assert (task.state, task.assigned_to) == ("failed", "ben")
        assert task.reason == (
            f"ada (scripted): {REFUSAL.reason}; cleo (third): {REFUSAL.reason}; ben (second): {TOO_LONG.reason}"
        )
        answers(kinds, ada=REFUSAL)
        await town.run(town.operations.set_desired_state("ben", "paused"))
        await town.run(reopen_task(town.operations.keys, task.id))
        await town.run(town.operations.assign_task(task.id, "ada"))
        again = await town.wait_for_task(task.id)
        assert (again.state, again.assigned_to) == ("completed", "cleo")


async def test_without_a_kind_to_stand_in_it_fails_for_its_own_reason(town_dir: Any, kinds: Any) -> None:
    answers(kinds, ada=REFUSAL, ben=REFUSAL, dan=Failed(reason="broken", retryable=False))
    async with town_dir.open() as town:
        ada = await spawn(town, ada="scripted", ben="second", dan="scripted")
        alone = await town.wait_for_task((await town.add_task("it", agent="ben")).id)
        assert (alone.state, alone.reason) == ("failed", REFUSAL.reason)
        broken = await town.wait_for_task((await town.add_task("it", agent="dan")).id)
        assert (broken.state, broken.reason) == ("failed", "broken")
        await town.run(town.operations.set_desired_state("ben", "stopped"))
        nobody = await town.wait_for_task((await ada.assign("it")).id)
        assert nobody.reason == f"ada (scripted): {REFUSAL.reason}; no agent of third, second can take it over"


async def test_the_only_one_left_gets_it_though_its_account_is_parked(town_dir: Any, kinds: Any) -> None:
    async def script(work: Any, report: Any) -> Outcome:
        if work.environment["TINYTOWN_AGENT_NAME"] == "ada":
            return REFUSAL
        return RateLimited(retry_after_s=1.0) if len(kinds.rounds) == 1 else Finished(text="done")

    kinds.script = script
    async with town_dir.open() as town:
        ada = await spawn(town, ada="scripted", ben="second")
        parked = await town.add_task("first", agent="ben")
        await town_dir.wait_for_events(town, 1, "account_parked")
        task = await town.wait_for_task((await ada.assign("it")).id)
        assert (task.state, task.assigned_to) == ("completed", "ben")
        assert (await town.wait_for_task(parked.id)).state == "completed"


def test_no_kind_gets_a_task_twice() -> None:
    kinds = {"a": ("b", "c"), "b": ("a", "d"), "d": ("d",)}
    declined = [Declined(agent="x", cli=kind, reason="no") for kind in "ab"]
    assert kinds_left(kinds, "a", []) == ("b", "c")
    assert kinds_left(kinds, "b", declined[:1]) == ("c", "d")
    assert kinds_left(kinds, "c", declined) == ("d",)
    assert kinds_left(kinds, "e", []) == ()


def test_a_record_of_who_has_declined_that_cannot_be_read_is_none() -> None:
    assert declined_by(Task(id="t", description="it", meta={"ops": {"declined": 3}})) == ()


def test_a_kernel_that_dies_after_handing_over_takes_nothing_back(town: TownClient) -> None:
    run, operations = town.run, town.operations
    ann, ben = (run(operations.create_agent(name, cli="echo")) for name in ("ann", "ben"))
    run(operations.register_host("h", lease_ms=60_000, details={"name": "h"}))
    ann = run(operations.place_agents("h", ["echo"], count=1)).agents[0]
    run(operations.add_task("it", agent="ann", task_id="it"))
    batch = run(operations.claim(ann.id, fence=ann.token or "", token="t", count=1, lease_ms=60_000))
    started = run(operations.start_task(ann.id, ann.token or "", "it", "round")).task
    assert started is not None
    run(operations.start_round(ann.id, ann.token or "", "round", "it"))
    declined = [Declined(agent="ann", cli="echo", reason="no")]
    move = hand_over(operations.keys, started, ben, "no", declined=declined)
    assert run(move)
    assert run(move), "the same call again"
    assert not run(hand_over(operations.keys, started, ben, "no", declined=declined)), "it has moved on"

    def state() -> tuple[object, ...]:
        task = run(operations.task("it"))
        queued = [(name, run(operations.agent(name)).mail.total) for name in ("ann", "ben")]
        return task.state, task.assigned_to, task.attempts, task.token, declined_by(task), dict(queued)["ben"]

    assert state() == ("assigned", "ben", 0, None, tuple(declined), 1)
    run(
        operations.settle_round(
            ann.id,
            ann.token or "",
            "round",
            batch.deliveries,
            outcome="failed",
            mail="ack",
            task_ids=["it"],
            fate="fail",
        )
    )
    assert state() == ("assigned", "ben", 0, None, tuple(declined), 1)
    assert run(operations.agent("ann")).mail.total == 0
    run(operations.deregister_host("h", reason="killed"))
    assert state() == ("assigned", "ben", 0, None, tuple(declined), 1)


def test_whoever_is_gone_by_then_gets_nothing(town: TownClient) -> None:
    run, operations = town.run, town.operations
    _, ben = (run(operations.create_agent(name, cli="echo")) for name in ("ann", "ben"))
    task = run(operations.add_task("it", agent="ann")).task
    run(operations.set_desired_state("ben", "stopped"))
    assert run(hand_over(operations.keys, task, ben, "no"))
    assert run(operations.task(task.id)).state == "pending"


@pytest.mark.parametrize("outcome", [Unauthorized(reason="no login", hint="log in"), REFUSAL])
async def test_a_task_that_starts_from_a_session_stays_with_its_kind(
    town_dir: Any, kinds: Any, outcome: Outcome
) -> None:
    answers(kinds, ada=outcome)
    town_dir.configure(FALLBACK, max_attempts=1)
    async with town_dir.open() as town:
        ada = await spawn(town, ada="scripted", dan="third")
        table = {"fork": {"agent": "ben", "session_id": "s1"}}
        task = await town.add_task("it", agent=ada.id, meta=table)
        other = await town.wait_for_task((await ada.assign("that")).id)
        assert (other.state, other.assigned_to) == ("completed", "dan")
        task = await town.task(task.id)
        assert (task.state, task.assigned_to) == ("failed" if outcome is REFUSAL else "assigned", "ada")
