"""Which mail starts a round, and what rides along with the next one."""

from __future__ import annotations

from typing import Any

import pytest
from tinytown.contracts import Failed, Finished
from tinytown.model.messages import AckType, Confirmation, Informational, Query


async def texts_of_rounds(backend: Any) -> list[list[str]]:
    return [[message.text for message in round_.messages if message.type != "task_assign"] for round_ in backend.rounds]


async def test_ten_messages_of_courtesy_cost_no_round_and_ride_along_with_the_next_one(
    town_dir, scripted_backend
) -> None:
    async with town_dir.open() as town:
        ada = await town.spawn("ada")
        await ada.wait_for_idle()
        for number in range(5):
            await ada.send(Informational(summary=f"news {number}"), sender="ada")
            await ada.send(Confirmation(ack_type=AckType(type="thanks")), sender="ada")
        await ada.wait_for_idle()  # though there is mail: it waits for a round
        mail = (await ada.info()).mail
        assert (mail.with_next, mail.delayed, mail.queued, mail.total) == (10, 10, 0, 10)
        box = await town.run(town.operations.peek("ada"))
        assert {(entry.place, entry.until) for entry in box.messages} == {("delayed", None)}
        await town.wait_for_task((await ada.assign("work")).id)
        await ada.wait_for_idle()
        assert (await ada.info()).mail.total == 0
    assert sorted((await texts_of_rounds(scripted_backend))[0]) == sorted(
        [*(f"news {n}" for n in range(5)), *["thanks"] * 5]
    )
    assert len(scripted_backend.rounds) == 1


async def test_a_receipt_never_starts_a_round_whatever_its_priority(town_dir, scripted_backend) -> None:
    town_dir.configure('[wake]\nkinds = { scripted = "always" }')
    async with town_dir.open() as town:
        ada = await town.spawn("ada")
        await ada.send(Confirmation(), priority="urgent", sender="supervisor")
        await ada.wait_for_idle()
        await town.wait_for_task((await ada.assign("work")).id)
        assert await texts_of_rounds(scripted_backend) == [["acknowledged"]]


@pytest.mark.parametrize(
    ("rules", "priority", "news", "question"),
    [
        ("", "normal", False, True),
        ("", "urgent", True, True),
        ('senders = { supervisor = "always" }', "normal", True, True),
        ('roles = { clerk = "always" }', "normal", True, True),
        ('kinds = { scripted = "always" }', "normal", True, True),
        ('kinds = { scripted = "always" }\nroles = { clerk = "work" }', "normal", False, True),
        ('roles = { clerk = "always" }\nsenders = { supervisor = "never" }', "normal", False, False),
        ('roles = { clerk = "never" }', "urgent", False, False),
    ],
)
async def test_sender_role_and_kind_say_which_mail_starts_a_round(
    town_dir, scripted_backend, rules, priority, news, question
) -> None:
    town_dir.configure(f"[wake]\n{rules}")
    async with town_dir.open() as town:
        ada = await town.spawn("ada", role="clerk")
        await ada.send(Informational(summary="news"), priority=priority)
        assert ((await ada.info()).mail.with_next == 0) == news
        if news:
            await scripted_backend.wait_for_rounds(1)
        await ada.wait_for_idle()
        await ada.send(Query(question="so?"), priority=priority)
        if question:
            await scripted_backend.wait_for_rounds(1 + news)
        await ada.wait_for_idle()
        await town.wait_for_task((await ada.assign("an order always does")).id)
        assert len(scripted_backend.rounds) == news + question + 1


async def test_news_for_a_sleeping_agent_wakes_nobody(town_dir, scripted_backend) -> None:
    town_dir.configure(idle_timeout_s=0.1)
    async with town_dir.open() as town:
        ada = await town.spawn("ada")
        await ada.wait_until(lambda now: now.asleep)
        await ada.send(Informational(summary="news"))
        await town.wait_for_task((await ada.assign("work")).id)
        assert await texts_of_rounds(scripted_backend) == [["news"]]
        await ada.wait_until(lambda now: now.asleep)


async def test_an_agent_that_drains_does_not_wait_for_what_rides_along(town_dir, scripted_backend) -> None:
    async with town_dir.open() as town:
        ada = await town.spawn("ada")
        await ada.send(Informational(summary="news"))
        await town.run(town.operations.set_desired_state(ada.id, "drained"))
        await ada.wait_until(lambda now: now.state == "stopped")
        assert scripted_backend.rounds == []
        assert len(await town.inbox("ada")) == 1


async def test_what_rode_along_with_a_failed_round_rides_along_again(
    town_dir, scripted_backend, scripted_answers
) -> None:
    scripted_backend.script = scripted_answers(Failed(reason="no", retryable=True), Finished(text="yes"))
    async with town_dir.open() as town:
        ada = await town.spawn("ada")
        await ada.send(Informational(summary="news"))
        await town.wait_for_task((await ada.assign("work")).id)
        await ada.wait_for_idle()
        assert await texts_of_rounds(scripted_backend) == [["news"], ["news"]]
        assert await town.inbox("ada") == ()
