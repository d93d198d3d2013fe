"""What becomes of mail, task and agent for every way in which a round can end."""

from __future__ import annotations

from typing import Any

import pytest
import tinytown.kernel.round_runner
import trio
from tinytown.contracts import (
    Failed,
    FailureHandler,
    Finished,
    Interrupted,
    Lost,
    Outcome,
    Unauthorized,
    Unavailable,
    Usage,
    WorkContext,
)
from tinytown.errors import BackendUnavailable, Refused
from tinytown.model.messages import Informational, Query
from tinytown_cli import administration


async def forever(work: Any, report: Any) -> None:
    await trio.sleep_forever()


async def test_of_a_long_reason_the_beginning_and_the_end_are_kept(
    town_dir, scripted_backend, scripted_answers
) -> None:
    reason = "exit status 3: " + "in the middle of a long trace\n" * 1_000 + "ValueError: no such table"
    scripted_backend.script = scripted_answers(Failed(reason=reason, retryable=False))
    async with town_dir.open() as town:
        task = await (await town.spawn("ann")).assign("do it")
        found = (await town.wait_for_task(task.id)).reason or ""
        assert (found[:14], found[-25:], len(found) <= 2_000) == ("exit status 3:", "ValueError: no such table", True)


async def test_a_finished_round_completes_its_task_with_the_final_text(
    town_dir, scripted_backend, scripted_answers
) -> None:
    scripted_backend.script = scripted_answers(
        Finished(text="here it is", usage=Usage(input_tokens=3), session_id="s1")
    )
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await town.wait_for_task((await agent.assign("do it")).id)
        assert (task.state, task.result, task.attempts) == ("completed", "here it is", 1)
        await agent.wait_for_idle()
        info = await agent.info()
        assert (info.state, info.tasks_completed, info.rounds_completed, info.mail.total) == ("idle", 1, 1, 0)
        assert info.session_id == "s1"
        await agent.assign("more")
        await agent.wait_for_idle()
        assert [round.session_id for round in scripted_backend.rounds] == [None, "s1"]
        (_, record) = await town.run(administration.rounds(town.operations.keys, "ada"))
        assert record.usage is not None
        assert record.usage["input_tokens"] == 3
        assert (record.agent, record.task, record.text, record.session_id) == ("ada", task.id, "here it is", "s1")
        assert record.began_at <= record.ended_at


async def test_a_failed_round_is_tried_again_with_growing_delays_until_the_budget_is_spent(
    town_dir, scripted_backend, scripted_answers
) -> None:
    town_dir.configure(max_attempts=3, retry_delay_s=0.2)
    began: list[float] = []

    async def fail(work: Any, report: Any) -> Failed:
        began.append(trio.current_time())
        return Failed(reason=f"no luck on attempt {work.task.attempts}")

    scripted_backend.script = fail
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await town.wait_for_task((await agent.assign("do it")).id)
        assert (task.state, task.attempts, task.reason) == ("failed", 3, "no luck on attempt 3")
        await agent.wait_for_idle()
        first, second = began[1] - began[0], began[2] - began[1]
        assert first >= 0.2
        assert second >= 0.4
        assert "no luck on attempt 1" in scripted_backend.rounds[1].prompt


async def test_a_failure_that_is_not_retryable_fails_the_task_at_once(
    town_dir, scripted_backend, scripted_answers
) -> None:
    scripted_backend.script = scripted_answers(Failed(reason="there is no such file", retryable=False))
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await town.wait_for_task((await agent.assign("do it")).id)
        assert (task.state, task.attempts, task.reason) == ("failed", 1, "there is no such file")


class Handler(FailureHandler):
    """Says something before a task fails, and notes which outcomes it has seen."""

    def __init__(self, name: str, answer: Any = None) -> None:
        self.name = name
        self.answer = answer
        self.seen: list[tuple[str | None, Outcome]] = []

    async def before_failing(self, work: WorkContext, outcome: Outcome) -> str | None:
        self.seen.append((work.task and work.task.id, outcome))
        if isinstance(self.answer, BaseException):
            raise self.answer
        answer: str | None = self.answer
        return answer


async def test_before_a_task_fails_handlers_are_asked_until_one_has_the_reason(
    town_dir, scripted_backend, scripted_answers
) -> None:
    town_dir.configure(max_attempts=2, retry_delay_s=0.01)
    failed = Failed(reason="no", retryable=False, cause="refused")
    scripted_backend.script = scripted_answers(Failed(reason="once"), failed, Lost(reason="gone"), Finished(text="x"))
    bad, silent = Handler("bad", SystemExit(2)), Handler("silent")
    odd, late = Handler("odd", 5), Handler("late", "never asked")
    scripted_backend.failure_handlers = [bad, silent, odd, late]
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await town.wait_for_task((await agent.assign("do it")).id)
        assert (task.state, task.attempts, task.reason, task.result) == ("failed", 2, "5", "no")
        assert bad.seen == silent.seen == odd.seen == [(task.id, failed)], "not for an attempt that is tried again"
        assert late.seen == []
        (fault,) = await town_dir.wait_for_events(town, 1, "plugin_reported")
        assert fault["text"].startswith("failure handler bad failed")
        assert (await town.wait_for_task((await agent.assign("more")).id)).state == "completed"


async def test_the_retry_budget_holds_over_kernels_and_agents(
    town_dir, scripted_backend, scripted_answers, wait_for_task_state
) -> None:
    town_dir.configure(max_attempts=3, retry_delay_s=0.01)
    scripted_backend.script = scripted_answers(Failed(reason="first"), forever)
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await agent.assign("do it")
        await town.wait_until(lambda: town.task(task.id), lambda now: now.state == "running" and now.attempts == 2)
    scripted_backend.script = scripted_answers(Failed(reason="second"), forever)
    async with town_dir.open() as town:
        await town.wait_until(lambda: town.task(task.id), lambda now: now.state == "running" and now.attempts == 3)
        await town.run(town.operations.set_desired_state("ada", "paused", now=True))
        await wait_for_task_state(town, task, "assigned")
        scripted_backend.script = scripted_answers(Failed(reason="third"))
        await town.spawn("bea")
        await town.run(town.operations.assign_task(task.id, "bea"))
        ended = await town.wait_for_task(task.id)
        assert (ended.state, ended.attempts, ended.assigned_to, ended.reason) == ("failed", 3, "bea", "third")


async def test_a_lost_process_counts_as_an_attempt_and_gets_a_new_session(
    town_dir, scripted_backend, scripted_answers
) -> None:
    scripted_backend.script = scripted_answers(
        Lost(reason="killed", stderr_tail="Segmentation fault\n"), Finished(text="fine")
    )
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await town.wait_for_task((await agent.assign("do it")).id)
        assert (task.state, task.attempts) == ("completed", 2)
        assert "Segmentation fault" in scripted_backend.rounds[1].prompt
        assert scripted_backend.backends[0].opened == ["ada", "ada"]
    assert scripted_backend.backends[0].closed == ["ada", "ada"]


@pytest.mark.parametrize("outcome", [Unauthorized, Unavailable])
async def test_without_login_or_tool_the_agent_stops_in_error_and_its_mail_stays(
    town_dir, scripted_backend, scripted_answers, outcome
) -> None:
    scripted_backend.script = scripted_answers(
        outcome(reason="not logged in", hint="run claude login"), Finished(text="fine")
    )
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await agent.assign("do it")
        info = await agent.wait_until(lambda agent: agent.state == "error")
        assert info.reason == "not logged in; run claude login"
        now = await town.task(task.id)
        assert (now.state, now.attempts) == ("assigned", 0)
        (message,) = await town.inbox(agent.name)
        assert message.text == f"task {task.id}"
        with pytest.raises(Refused, match="is error with work left \\(not logged in"):
            await agent.wait_for_idle()
        await agent.resume()
        assert (await town.wait_for_task(task.id)).state == "completed"


async def test_an_interrupted_round_gives_its_mail_back_untouched(
    town_dir, scripted_backend, scripted_answers, wait_for_task_state
) -> None:
    scripted_backend.script = scripted_answers(forever, Finished(text="fine"))
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await agent.assign("do it")
        await scripted_backend.wait_for_rounds(1)
        await agent.interrupt(now=True)
        await agent.wait_until(lambda agent: agent.state == "paused")
        now = await town.task(task.id)
        assert (now.state, now.attempts) == ("assigned", 0)
        inbox = await town.run(town.operations.peek("ada"))
        assert [(entry.place, entry.deliveries) for entry in inbox.messages] == [("queued", 0)]
        await agent.resume()
        assert (await town.wait_for_task(task.id)).attempts == 1


async def test_a_backend_that_interrupts_itself_is_no_busy_loop(town_dir, scripted_backend, scripted_answers) -> None:
    town_dir.configure(retry_delay_s=0.3)
    scripted_backend.script = scripted_answers(Interrupted(), Interrupted(), Finished(text="fine"))
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        began = trio.current_time()
        assert (await town.wait_for_task((await agent.assign("do it")).id)).attempts == 1
        assert trio.current_time() - began >= 0.6


async def test_whatever_a_backend_raises_costs_an_attempt_and_is_reported(
    town_dir, scripted_backend, scripted_answers
) -> None:
    scripted_backend.script = scripted_answers(
        ValueError("boom"), ExceptionGroup("many", [OSError(5, "io")]), Finished(text="fine")
    )
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await town.wait_for_task((await agent.assign("do it")).id)
        assert (task.state, task.attempts) == ("completed", 3)
        assert "ValueError('boom')" in scripted_backend.rounds[1].prompt
        await agent.wait_for_idle()
        await town_dir.wait_for_events(town, 2, "plugin_reported")
        assert town_dir.recorded("plugin_reported")[0]["plugin"] == "scripted"


@pytest.mark.parametrize("nonsense", [None, "done", 42, Finished(text=None), Finished(text="\ud800"), object()])  # type: ignore[arg-type]
async def test_a_backend_that_returns_nonsense_costs_an_attempt_and_is_named(
    town_dir, scripted_backend, scripted_answers, nonsense
) -> None:
    town_dir.configure(max_attempts=1)
    scripted_backend.script = scripted_answers(nonsense)
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await town.wait_for_task((await agent.assign("do it")).id)
        assert task.state == "failed"
        assert "expected an Outcome from the backend" in (task.reason or "")
        await agent.wait_for_idle()


async def test_a_backend_that_hangs_beyond_its_limit_is_cut_off(
    town_dir, scripted_backend, scripted_answers, monkeypatch
) -> None:
    monkeypatch.setattr(tinytown.kernel.round_runner, "_OVERTIME_S", 0.1)
    town_dir.configure(timeout_s=0.2, grace_s=0.1)
    scripted_backend.script = scripted_answers(forever, Finished(text="fine"))
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await town.wait_for_task((await agent.assign("do it")).id)
        assert (task.state, task.attempts) == ("completed", 2)
        assert "did not end within its limit of 0.2 s" in scripted_backend.rounds[1].prompt
        assert scripted_backend.backends[0].opened == ["ada", "ada"]


async def test_a_session_that_does_not_open_costs_an_attempt(town_dir, scripted_backend) -> None:
    backend = scripted_backend.backends[0]
    opened = backend.open
    errors = [OSError("no port"), BackendUnavailable("no claude here", hint="install it")]

    def fail_first(context: Any) -> Any:
        if errors:
            raise errors.pop(0)
        return opened(context)

    backend.open = fail_first
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await agent.assign("do it")
        info = await agent.wait_until(lambda agent: agent.state == "error")
        assert info.reason == "no claude here; install it"
        assert (await town.task(task.id)).attempts == 1
        await agent.resume()
        assert (await town.wait_for_task(task.id)).attempts == 2


async def test_a_session_may_have_nurseries_and_time_limits_of_its_own(town_dir, scripted_backend) -> None:
    from contextlib import asynccontextmanager

    backend = scripted_backend.backends[0]
    opened = backend.open
    beats: list[str] = []

    @asynccontextmanager
    async def with_background(context: Any) -> Any:
        async def beat() -> None:
            try:
                beats.append("begun")
                await trio.sleep_forever()
            finally:
                beats.append("ended")

        with trio.move_on_after(60):
            async with trio.open_nursery() as nursery, opened(context) as session:
                nursery.start_soon(beat)
                yield session
                nursery.cancel_scope.cancel()

    backend.open = with_background
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        for _ in range(3):
            assert (await town.wait_for_task((await agent.assign("do it")).id)).state == "completed"
        assert beats == ["begun"]
        await agent.kill()
        await agent.wait_until(lambda agent: agent.state == "stopped")
        assert beats == ["begun", "ended"]
        await agent.resume()
        assert (await town.wait_for_task((await agent.assign("again")).id)).state == "completed"
    assert beats == ["begun", "ended"] * 2


async def test_a_session_that_breaks_between_or_under_rounds_is_opened_anew(
    town_dir, scripted_backend, scripted_answers, wait_for_task_state
) -> None:
    from contextlib import asynccontextmanager

    backend = scripted_backend.backends[0]
    opened = backend.open
    breaks: list[trio.Event] = []

    @asynccontextmanager
    async def fragile(context: Any) -> Any:
        breaks.append(trio.Event())

        async def crash(event: trio.Event) -> None:
            await event.wait()
            raise OSError("the tool went away")

        async with trio.open_nursery() as nursery, opened(context) as session:
            nursery.start_soon(crash, breaks[-1])
            yield session
            nursery.cancel_scope.cancel()

    backend.open = fragile
    scripted_backend.script = scripted_answers(Finished(text="one"), forever, Finished(text="two"))
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        await town.wait_for_task((await agent.assign("first")).id)
        breaks[0].set()
        await trio.testing.wait_all_tasks_blocked(0.05)
        task = await agent.assign("second")
        await scripted_backend.wait_for_rounds(2)
        breaks[1].set()
        ended = await town.wait_for_task(task.id)
        assert (ended.state, ended.result, ended.attempts) == ("completed", "two", 2)
        assert len(breaks) == 3


async def test_with_explicit_completion_an_agent_is_reminded_and_then_fails(
    town_dir, scripted_backend, scripted_answers
) -> None:
    town_dir.configure(completion="explicit", reminders=2)
    scripted_backend.script = scripted_answers(Finished(text="I think that is it"))
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await town.wait_for_task((await agent.assign("do it")).id)
        assert (task.state, task.attempts) == ("failed", 3)
        assert task.reason == "ended without reporting on its task"
        assert task.result == "I think that is it"
        assert "only when you report it" in scripted_backend.rounds[0].prompt
        assert "you ended without reporting on your task" in scripted_backend.rounds[1].prompt


async def test_with_explicit_completion_what_the_agent_says_counts(town_dir, scripted_backend) -> None:
    town_dir.configure(completion="explicit")
    async with town_dir.open() as town:

        async def complete(work: Any, report: Any) -> Finished:
            call = town.operations.settle_task(
                "complete", work.task.id, text="by myself", by=work.task.agent_id, token=work.task.token
            )
            await town.run(call)
            return Finished(text="not this")

        scripted_backend.script = complete
        agent = await town.spawn("ada")
        task = await town.wait_for_task((await agent.assign("do it")).id)
        assert (task.state, task.result, task.attempts) == ("completed", "by myself", 1)
        await agent.wait_for_idle()


async def test_an_agent_stops_when_its_rounds_are_done(town_dir, scripted_backend, scripted_answers) -> None:
    scripted_backend.script = scripted_answers(Failed(reason="once"), Finished(text="fine"))
    async with town_dir.open() as town:
        agent = await town.spawn("ada", max_rounds=2)
        for number in range(3):
            await agent.send(f"order {number}")
        info = await agent.wait_until(lambda agent: agent.state == "stopped")
        assert (info.desired_state, info.rounds_completed) == ("stopped", 2)
        assert info.reason == "max_rounds reached (2); tt restart continues"
        (reported,) = await town_dir.wait_for_events(town, 1, "agent_state_changed", new="working")
        assert reported["desired_state"] == "running"
        (reported,) = await town_dir.wait_for_events(town, 1, "agent_state_changed", new="stopped")
        assert reported["desired_state"] == "stopped"
        await town.run(administration.reset_round_count(town.operations.keys, agent.id, max_rounds=3))
        again = await agent.info()
        assert (again.rounds_completed, again.max_rounds) == (0, 3)
        assert len(scripted_backend.rounds) == 2
        assert len(await town.inbox(agent.name)) == 2


async def test_an_agent_does_no_more_rounds_than_it_may_whatever_cuts_them_off(
    town_dir, scripted_backend, scripted_answers, wait_for_task_state
) -> None:
    scripted_backend.script = scripted_answers(forever, Failed(reason="once"), Finished(text="fine"))
    async with town_dir.open() as town:
        agent = await town.spawn("ada", max_rounds=2)
        for number in range(3):
            await agent.send(f"order {number}")
        await scripted_backend.wait_for_rounds(1)
        await agent.interrupt(now=True)
        await agent.wait_until(lambda agent: agent.state == "paused")
        assert (await agent.info()).rounds_completed == 0
        await agent.resume()
        await agent.wait_until(lambda agent: agent.state == "stopped")
        assert len(scripted_backend.rounds) == 3
        await agent.resume()  # they are done, whoever asks
        await agent.wait_until(lambda agent: agent.desired_state == "stopped" and agent.state == "stopped")
        assert (await agent.info()).rounds_completed == 2
        assert len(scripted_backend.rounds) == 3


async def test_an_urgent_message_interrupts_a_round_if_so_configured(
    town_dir, scripted_backend, scripted_answers, wait_for_task_state
) -> None:
    town_dir.configure(interrupt_on_urgent=True)
    scripted_backend.script = scripted_answers(forever, Finished(text="fine"))
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await agent.assign("do it")
        await scripted_backend.wait_for_rounds(1)
        await agent.send(Query(question="are you sure?"), priority="urgent")
        assert (await town.wait_for_task(task.id)).attempts == 1
        assert [len(round.messages) for round in scripted_backend.rounds] == [1, 2]
        assert "are you sure?" in scripted_backend.rounds[1].prompt


@pytest.mark.parametrize("hindrance", ["frozen", "parked", "spent"])
async def test_urgent_mail_cuts_no_round_off_after_which_none_may_begin(town_dir, scripted_backend, hindrance) -> None:
    go_on = trio.Event()

    async def wait(work: Any, report: Any) -> Finished:
        await go_on.wait()
        return Finished()

    town_dir.configure(interrupt_on_urgent=True)
    scripted_backend.script = wait
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await agent.assign("do it")
        await scripted_backend.wait_for_rounds(1)
        if hindrance == "frozen":
            await town.run(administration.freeze(town.operations.keys, reason="the bill"))
        elif hindrance == "parked":
            await town.link.command("ZADD", f"{town.operations.keys.base}:parked", 9_999_999_999_999, "scripted")
        else:
            await town.run(town.operations.set_budgets({"agent_usd ada": 0}))
        await agent.send(Query(question="are you sure?"), priority="urgent")
        await trio.sleep(0.2)  # the measured span itself
        assert (await town.task(task.id)).state == "running"
        await town.run(administration.thaw(town.operations.keys, reason="enough"))
        go_on.set()
        assert (await town.wait_for_task(task.id)).attempts == 1


async def test_without_that_setting_urgent_mail_waits_for_the_next_round_and_comes_first(
    town_dir, scripted_backend, wait_for_task_state
) -> None:
    go_on = trio.Event()

    async def wait(work: Any, report: Any) -> Finished:
        await go_on.wait()
        return Finished()

    scripted_backend.script = wait
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await agent.assign("do it")
        await scripted_backend.wait_for_rounds(1)
        await agent.send("later")
        await agent.send("now", priority="urgent")
        go_on.set()
        await agent.wait_for_idle()
        assert [round.messages[0].text for round in scripted_backend.rounds] == [f"task {task.id}", "now", "later"]


async def test_notes_ride_along_with_one_order_a_round(town_dir, scripted_backend) -> None:
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        await agent.interrupt()
        await agent.wait_until(lambda agent: agent.state == "paused")
        await agent.send(Informational(summary="the port is 80"))
        first = await agent.assign("first")
        await agent.send(Query(question="which port?"), sender="supervisor")
        second = await agent.assign("second")
        await agent.resume()
        await agent.wait_for_idle()
        assert [[message.type for message in round.messages] for round in scripted_backend.rounds] == [
            ["informational", "task_assign", "query"],
            ["task_assign"],
        ]
        assert "the port is 80" in scripted_backend.rounds[0].prompt
        assert "which port?" in scripted_backend.rounds[0].prompt
        assert [(await town.task(task.id)).state for task in (first, second)] == ["completed", "completed"]


async def test_orders_that_are_out_of_date_are_skipped(town_dir, scripted_backend) -> None:
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        await agent.interrupt()
        await agent.wait_until(lambda agent: agent.state == "paused")
        cancelled = await agent.assign("not this")
        await town.cancel_task(cancelled.id)
        base = town.operations.keys.base
        gone = await agent.assign("nor this")
        await town.link.command("DEL", f"{base}:task:{gone.id}")  # a foreign hand
        task = await agent.assign("this")
        await agent.resume()
        await town.wait_for_task(task.id)
        assert [round.task.description for round in scripted_backend.rounds] == ["this"]


async def test_a_task_that_is_cancelled_takes_its_round_along(
    town_dir, scripted_backend, scripted_answers, wait_for_task_state
) -> None:
    scripted_backend.script = scripted_answers(forever)
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await agent.assign("do it")
        await scripted_backend.wait_for_rounds(1)
        await town.cancel_task(task.id, "not needed")
        await agent.wait_for_idle()
        assert (await town.task(task.id)).state == "cancelled"


async def test_mail_that_cannot_be_decoded_becomes_a_dead_letter_and_holds_nobody_up(
    town_dir, scripted_backend
) -> None:
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        await agent.interrupt()
        await agent.wait_until(lambda agent: agent.state == "paused")
        bad = await agent.send("will be garbage")
        base = town.operations.keys.base
        await town.link.command("HSET", f"{base}:mail:{agent.id}:bodies", bad.message_id, b'{"half": \xff')
        await agent.send("good")
        await agent.resume()
        await agent.wait_for_idle()
        (letter,) = await town.run(administration.dead_letters(town.operations.keys))
        assert (letter.id, letter.reason) == (bad.message_id, "its body cannot be decoded")
        assert [round.messages[0].text for round in scripted_backend.rounds] == ["good"]


async def test_an_order_without_a_task_that_fails_too_often_becomes_a_dead_letter(
    town_dir, scripted_backend, scripted_answers
) -> None:
    town_dir.configure("[limits]\nmax_deliveries = 2\n", retry_delay_s=0.01)
    scripted_backend.script = scripted_answers(Failed(reason="no luck"))
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        sent = await agent.send("do it")
        await agent.wait_until(lambda agent: agent.mail.total == 0)
        (letter,) = await town.run(administration.dead_letters(town.operations.keys))
        assert (letter.id, letter.deliveries) == (sent.message_id, 2)
        assert len(scripted_backend.rounds) == 2


async def test_a_task_and_what_is_made_of_it_share_one_budget_of_attempts(
    town_dir, scripted_backend, scripted_answers
) -> None:
    town_dir.configure(max_attempts=2, lineage_attempts=3)
    scripted_backend.script = scripted_answers(Failed(reason="no luck"))
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        first = await town.wait_for_task((await agent.assign("do it")).id)
        assert (first.state, first.reason, first.attempts) == ("failed", "no luck", 2)
        part = await town.wait_for_task((await agent.assign("a part of it", parent=first.id)).id)
        assert (part.state, part.attempts) == ("failed", 1)
        spent = f"all attempts (3) of task {first.id} and all that was made of it are spent (round.lineage_attempts)"
        assert part.reason == spent
        for retried in (
            await agent.assign("a part of the part", parent=part.id),
            (await town.run(administration.reopen_task(town.operations.keys, first.id))).task,
        ):
            assert "are spent" in ((await town.wait_for_task(retried.id)).reason or "")
        assert len(scripted_backend.rounds) == 3
        reported = [message.text for message in await town.inbox()]
        assert reported[0] == f"task {part.id} (a part of it) failed: {spent}"
        assert len(reported) == 3
        other = await town.wait_for_task((await agent.assign("something else")).id)
        assert other.reason == "no luck"


async def test_news_of_spent_attempts_fill_the_mailbox_of_the_human_side_and_no_more(
    town_dir, scripted_backend, scripted_answers
) -> None:
    town_dir.configure("[limits]\nmailbox_messages = 2\n", max_attempts=1, lineage_attempts=1)
    scripted_backend.script = scripted_answers(Failed(reason="no luck"))
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        first = await town.wait_for_task((await agent.assign("do it")).id)
        for _ in range(4):
            await town.run(administration.reopen_task(town.operations.keys, first.id))
            assert "are spent" in ((await town.wait_for_task(first.id)).reason or "")
        assert len(await town.inbox()) == 2


async def test_a_round_that_was_interrupted_costs_its_lineage_nothing(town_dir, scripted_backend) -> None:
    town_dir.configure(lineage_attempts=1)
    go_on = trio.Event()

    async def work(work: Any, report: Any) -> Finished:
        await go_on.wait()
        return Finished(text="done")

    scripted_backend.script = work
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await agent.assign("do it")
        for number in (1, 2):
            await scripted_backend.wait_for_rounds(number)
            await agent.interrupt(now=True)
            await agent.wait_until(lambda now: now.state == "paused")
            await agent.resume()
        go_on.set()
        assert (await town.wait_for_task(task.id)).state == "completed"
