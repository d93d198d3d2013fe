"""Consuming a mailbox under a lease, with a real server: what is handled goes, what is not comes back, nothing is lost."""

from __future__ import annotations

import subprocess
import sys

import pytest
import trio
from tinytown.errors import StaleLease
from tinytown.model.messages import Confirmation, Informational, Query
from tinytown_api import Mailbox, Town

pytestmark = pytest.mark.usefixtures("deadline")


async def texts(town: Town, agent: str = "supervisor") -> list[str]:
    return [message.text for message in await town.inbox(agent)]


@pytest.fixture
async def town(town_dir):
    async with Town.connect(town_dir.root) as town:
        yield town


async def test_a_message_is_leased_and_removed_once_it_was_handled(town: Town) -> None:
    await town.send("supervisor", "look at the build")
    async with town.open_mailbox() as mailbox:
        async with await mailbox.receive() as letter:
            assert (letter.text, letter.sender, letter.deliveries) == ("look at the build", "supervisor", 1)
            assert await texts(town) == ["look at the build"]  # leased, not gone
            assert await mailbox.try_receive() is None
        assert await texts(town) == []


async def test_receive_waits_for_a_message_and_mail_comes_by_priority(town: Town) -> None:
    got: list[str] = []

    async def read(mailbox: Mailbox, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        for _ in range(3):
            letter = await mailbox.receive()
            got.append(letter.text)
            await letter.ack()

    await town.send("supervisor", "second")
    await town.send("supervisor", "first", priority="high")
    async with town.open_mailbox() as mailbox, trio.open_nursery() as nursery:
        await nursery.start(read, mailbox)
        await town.send("supervisor", Informational(summary="third"))
    assert got == ["first", "second", "third"]


async def test_an_error_gives_the_message_back_until_it_is_a_dead_letter(town: Town) -> None:
    await town.send("supervisor", Query(question="and now?"), message_id="q1")
    async with town.open_mailbox() as mailbox:
        for delivery in range(1, 6):
            letter = await mailbox.receive()
            assert letter.deliveries == delivery
            with pytest.raises(ZeroDivisionError):
                async with letter:
                    _ = 1 / 0
        assert await mailbox.try_receive() is None
    (dead,) = await town.dead_letters()
    assert (dead.id, dead.reason) == ("q1", "division by zero")
    assert await town.redrive() == ("q1",)
    assert await texts(town) == ["and now?"]


async def test_what_is_cancelled_or_left_goes_back_uncounted(town: Town) -> None:
    await town.send("supervisor", "one")
    await town.send("supervisor", "two")
    async with town.open_mailbox() as mailbox:
        with trio.CancelScope() as scope:
            async with await mailbox.receive():
                scope.cancel()
                await trio.sleep_forever()
        await mailbox.drain()
    async with town.open_mailbox() as mailbox:
        letters = await mailbox.drain()
        assert [(letter.text, letter.deliveries) for letter in letters] == [("one", 1), ("two", 1)]
        await mailbox.settle(*letters)
    assert await texts(town) == []


async def test_a_receive_that_is_cancelled_at_any_moment_loses_nothing(town: Town) -> None:
    count, got = 30, set[str]()
    for number in range(count):
        await town.send("supervisor", f"{number}")
    async with town.open_mailbox() as mailbox:
        for steps in range(count):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(cancel_after, scope, steps % 6)
                    letter = await mailbox.receive()
                    await letter.ack()
                    got.add(letter.text)
                    nursery.cancel_scope.cancel()
    # An ack that was cancelled may have been carried out, else its message goes back when the mailbox is closed.
    left = set(await texts(town))
    async with town.open_mailbox() as mailbox:
        letters = await mailbox.drain()
    assert {letter.text for letter in letters} == left
    assert {letter.deliveries for letter in letters} <= {1}
    assert not got & left
    assert not await town.dead_letters()
    assert len(got | left) >= count - sum(steps % 6 > 0 for steps in range(count))


async def cancel_after(scope: trio.CancelScope, steps: int) -> None:
    for _ in range(steps):
        await trio.lowlevel.checkpoint()
    scope.cancel()


async def test_leases_are_renewed_and_a_second_reader_gets_other_mail(town: Town) -> None:
    await town.send("supervisor", "one")
    await town.send("supervisor", "two")
    async with town.open_mailbox(lease_s=0.3) as first, town.open_mailbox(lease_s=0.3) as second:
        mine = await first.receive()
        theirs = await second.receive()
        entry = (await town.run(town.operations.peek("supervisor"))).messages[0]
        await town.wait_until(
            lambda: town.run(town.operations.peek("supervisor")),
            lambda inbox: (inbox.messages[0].until or "") > (entry.until or ""),
        )
        assert {mine.text, theirs.text} == {"one", "two"}
        assert await second.try_receive() is None
        await mine.ack()
        await theirs.ack()


READER = """
import sys, trio
from tinytown_api import Town

async def main():
    async with Town.connect(sys.argv[1]) as town, town.open_mailbox(lease_s=0.5) as mailbox:
        print((await mailbox.receive()).text, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


async def test_what_a_killed_reader_had_comes_back_when_its_lease_ends(town: Town) -> None:
    await town.send("supervisor", "look at the build")
    reader = await trio.lowlevel.open_process([sys.executable, "-c", READER, str(town.root)], stdout=subprocess.PIPE)
    try:
        assert reader.stdout is not None
        assert (await reader.stdout.receive_some()).strip() == b"look at the build"
        async with town.open_mailbox() as mailbox:
            assert await mailbox.try_receive() is None
            reader.kill()
            async with await mailbox.receive() as letter:
                assert (letter.text, letter.deliveries) == ("look at the build", 2)
    finally:
        reader.kill()
        await reader.wait()
        await reader.stdout.aclose()


async def test_a_letter_is_settled_once_and_a_lost_lease_is_said(town: Town) -> None:
    await town.send("supervisor", "one")
    async with town.open_mailbox() as mailbox:
        letter = await mailbox.receive()
        await town.run(town.operations.nack(mailbox.agent_id, [letter.delivery], counts=False))  # as its end would
        with pytest.raises(StaleLease, match="may be delivered again"):
            await letter.ack()
        again = await mailbox.receive()
        await again.ack()
        with pytest.raises(StaleLease, match="settled before"):
            await again.nack("too late")


async def test_a_reply_says_what_it_answers(town: Town) -> None:
    ada = await town.spawn("ada", cli="echo")
    await town.send("supervisor", Query(question="which port?"), sender="ada", message_id="q7")
    async with town.open_mailbox() as mailbox, await mailbox.receive() as letter:
        sent = await letter.reply("8080")
        second = await letter.reply(Confirmation())
    inbox = {message.id: message for message in await ada.inbox()}
    assert inbox[sent.message_id].text == "8080"
    assert {inbox[each.message_id].correlation_id for each in (sent, second)} == {"q7"}
    assert sent.message_id == "q7.answer"


async def test_a_program_works_for_an_agent_that_no_kernel_runs(town: Town) -> None:
    robot = await town.spawn("robot", cli="program")
    task = await robot.assign("count the files")
    await robot.send(Informational(summary="by the way"))
    async with robot.open_mailbox() as mailbox:
        handled = []
        for letter in await mailbox.drain():
            async with letter:
                handled.append(letter.message.type)
                if letter.message.type == "task_assign":
                    await town.complete_task(letter.message.body.task_id, "42")
    assert handled == ["task_assign", "informational"]
    assert (await town.task(task.id)).result == "42"
    assert await texts(town, "robot") == []


async def test_the_order_of_a_task_that_is_still_to_be_done_goes_back(town: Town) -> None:
    robot = await town.spawn("robot", cli="program")
    await robot.assign("count the files")
    async with robot.open_mailbox() as mailbox:
        async with await mailbox.receive():
            pass
        async with await mailbox.receive() as letter:
            assert letter.message.type == "task_assign"
