"""What kernels do about budgets: rounds are paid for, held when nothing is left, and continue when there is more."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from tinytown.config import BudgetsConfig, RateConfig
from tinytown.contracts import Failed, Finished, Interrupted, Lost, RateLimited, Unavailable, Usage
from tinytown.kernel.pricing import charge_of
from tinytown.model.messages import Informational
from tinytown_ops.costs import ledger

A_DOLLAR = Usage(input_tokens=100, output_tokens=10, cost_usd=1.0)


async def spent(town: Any) -> float | None:
    usd: float | None = (await town.run(ledger.costs(town.operations.keys))).total.usd
    return usd


async def test_what_backends_report_is_added_up(town_dir, scripted_backend, scripted_answers) -> None:
    town_dir.configure("[rates.scripted]\ninput_usd_per_mtok = 10000\noutput_usd_per_mtok = 0")
    scripted_backend.script = scripted_answers(
        Finished(usage=Usage(input_tokens=200)), Failed(reason="no", usage=A_DOLLAR), Finished()
    )
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        for word in ("one", "two"):
            await town.wait_for_task((await agent.assign(word)).id)
        await agent.wait_for_idle()
        (row,) = (await town.run(ledger.costs(town.operations.keys, by="agent"))).rows
        assert (row.rounds, row.input_tokens, row.usd, row.unmeasured_rounds) == (3, 300, 3.0, 1)


async def test_a_spent_budget_holds_the_agents_keeps_their_work_and_a_higher_one_lets_them_go_on(
    town_dir, scripted_backend, scripted_answers
) -> None:
    town_dir.configure("[budgets]\nday_usd = 2.0\nreserve_usd = 0.0")
    scripted_backend.script = scripted_answers(Finished(text="fine", usage=A_DOLLAR))
    async with town_dir.open() as town:
        ada, bea = await town.spawn("ada"), await town.spawn("bea")
        for agent in (ada, bea):
            await town.wait_for_task((await agent.assign("do it")).id)
        tasks = [await ada.assign("and this"), await bea.assign("and that")]
        for agent in (ada, bea):
            info = await agent.wait_until(lambda now: "budget" in (now.reason or ""))
            assert (info.state, info.reason) == ("idle", "budget day_usd is spent: $2.00 of $2.00")
        assert [(await town.task(task.id)).state for task in tasks] == ["assigned", "assigned"]
        assert len(scripted_backend.rounds) == 2
        assert [message.text.partition(".")[0] for message in await town.inbox()] == ["budget day_usd is spent: $2"]
        await town.run(town.operations.set_budgets(BudgetsConfig(day_usd=10.0).server_numbers))
        for task in tasks:
            assert (await town.wait_for_task(task.id)).attempts == 1
        assert (await town_dir.wait_for_events(town, 1, "budget_spent", budget="day_usd"))[0]["spent"] == 2.0


async def test_a_limit_that_is_raised_in_the_file_holds_from_the_next_start(
    town_dir, scripted_backend, scripted_answers
) -> None:
    town_dir.configure("[budgets]\nagent_tokens = 100\n[budgets.agents.bea]\ntokens = 1000")
    scripted_backend.script = scripted_answers(Finished(text="fine", usage=A_DOLLAR))
    async with town_dir.open() as town:
        ada, bea = await town.spawn("ada"), await town.spawn("bea")
        for agent in (ada, bea):
            await town.wait_for_task((await agent.assign("do it")).id)
        task = await ada.assign("and this")
        await ada.wait_until(lambda now: now.reason == "budget agent_tokens is spent: 110 tokens of 100 tokens")
        assert (await town.wait_for_task((await bea.assign("and that")).id)).state == "completed"
    town_dir.configure("[budgets]\nagent_tokens = 200")
    async with town_dir.open() as town:
        assert (await town.wait_for_task(task.id)).state == "completed"


async def test_rounds_that_begin_at_once_keep_to_what_is_left(town_dir, scripted_backend) -> None:
    town_dir.configure("[budgets]\nday_usd = 2.0\nreserve_usd = 1.0")
    go = trio.Event()
    running = most = 0

    async def work(work: Any, report: Any) -> Finished:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go.wait()
        running -= 1
        return Finished(text="fine", usage=Usage(cost_usd=0.2))

    scripted_backend.script = work
    async with town_dir.open() as town:
        agents = [await town.spawn(f"a{number}") for number in range(6)]
        tasks = [await agent.assign("do it") for agent in agents]
        await town.wait_until(town.agents, lambda now: sum("reserved" in (each.reason or "") for each in now) == 4)
        await scripted_backend.wait_for_rounds(2)
        go.set()
        for task in tasks:
            assert (await town.wait_for_task(task.id)).attempts == 1
        assert most == 2
        assert await spent(town) == pytest.approx(1.2)


async def test_a_task_whose_budget_is_spent_waits_and_the_rest_of_the_mail_does_not(
    town_dir, scripted_backend, scripted_answers
) -> None:
    town_dir.configure("[budgets]\ntask_usd = 1.0")
    scripted_backend.script = scripted_answers(Failed(reason="not yet", usage=A_DOLLAR), Finished(text="fine"))
    async with town_dir.open() as town:
        ada = await town.spawn("ada")
        dear = await ada.assign("dear")
        held = await town.wait_until(lambda: town.task(dear.id), lambda now: "budget" in (now.reason or ""))
        assert (held.state, held.attempts, held.reason) == ("assigned", 1, "budget task_usd is spent: $1.00 of $1.00")
        await ada.send(Informational(summary="news"))
        assert (await town.wait_for_task((await ada.assign("cheap")).id)).state == "completed"
        counts = (await ada.info()).mail
        assert (counts.delayed, counts.queued) == (1, 0)


async def test_what_a_host_spent_on_a_round_that_it_lost_is_entered_all_the_same(town_dir, scripted_backend) -> None:
    async def spend(work: Any, report: Any) -> None:
        report.usage(A_DOLLAR)
        await trio.sleep_forever()

    scripted_backend.script = spend
    async with town_dir.open() as town:
        ada = await town.spawn("ada")
        await ada.assign("do it")
        await scripted_backend.wait_for_rounds(1)
        await town.run(town.operations.set_desired_state("ada", "paused"))  # so that nobody begins it again
        await town.run(town.operations.deregister_host(town_dir.kernel.host_id, reason="its lease ran out"))
        await town.wait_until(lambda: spent(town), lambda usd: usd == 1.0)
        await ada.wait_until(lambda now: now.state == "paused")
        assert await spent(town) == 1.0


@pytest.mark.parametrize(
    ("outcome", "usage", "rate", "charge"),
    [
        (Finished(), None, None, "-"),
        (Lost(reason="gone"), None, None, "-"),
        (Interrupted(), None, None, "-"),
        (Finished(), None, RateConfig(input_usd_per_mtok=0.0, output_usd_per_mtok=0.0), "0 0 0 0"),
        (Finished(), None, RateConfig(input_usd_per_mtok=1.0, output_usd_per_mtok=0.0), "-"),
        (RateLimited(), None, None, ""),
        (Unavailable(reason="no"), None, None, ""),
        (RateLimited(), Usage(input_tokens=5), None, "5 0 0 -1"),
        (Finished(), Usage(input_tokens=5, cost_usd=0.0000014), None, "5 0 0 1"),
        (Finished(), Usage(input_tokens=-5, cached_tokens=9, cost_usd=-1.0), None, "0 0 0 -1"),
        (Finished(), Usage(cost_usd=float("inf")), None, "0 0 0 -1"),
        (Finished(), Usage(cost_usd=float("nan")), None, "0 0 0 -1"),
        (
            Finished(),
            Usage(input_tokens=1000, cached_tokens=400, output_tokens=10, cost_usd=9.0),
            RateConfig(input_usd_per_mtok=3.0, output_usd_per_mtok=15.0, cached_usd_per_mtok=0.5),
            "1000 10 400 2150",
        ),
        (
            Finished(),
            Usage(input_tokens=1000, cached_tokens=400),
            RateConfig(input_usd_per_mtok=3.0, output_usd_per_mtok=15.0),
            "1000 0 400 3000",
        ),
    ],
)
def test_a_round_costs_what_the_user_or_the_backend_says(outcome: Any, usage: Any, rate: Any, charge: str) -> None:
    assert charge_of(outcome, usage, rate) == charge
