"""A question gets an answer: the agent's own reply, or else the final text of its round."""

from __future__ import annotations

from typing import Any

from tinytown.contracts import Finished
from tinytown.model.messages import Informational, Query
from tinytown.town import Town
from tinytown_cli.replies import answer_id


async def mail_of(town: Town, count: int, agent: str = "supervisor") -> list[tuple[str, str, str | None]]:
    """The mail of an agent, once there is as much."""
    messages = await town.wait_until(lambda: town.inbox(agent), lambda messages: len(messages) >= count)
    return [(message.sender, message.text, message.correlation_id) for message in messages]


async def test_the_final_text_is_the_reply_where_there_is_none(town_dir: Any, scripted_backend: Any) -> None:
    scripted_backend.script = _says("it is 8321")
    async with town_dir.open() as town:
        await town.spawn("ada")
        sent = await town.send("ada", Query(question="which port?"))
        assert await mail_of(town, 1) == [("ada", "it is 8321", sent.message_id)]


async def test_an_agent_that_has_replied_sends_nothing_more(town_dir: Any, scripted_backend: Any) -> None:
    async with town_dir.open() as town:

        async def reply(work: Any, report: Any) -> Finished:
            for message in work.messages:
                id_ = answer_id(message.id)
                await town.send(
                    "supervisor", Informational(summary="8321"), sender="ada", message_id=id_, correlation_id=message.id
                )
            return Finished(text="I have replied")

        scripted_backend.script = reply
        ada = await town.spawn("ada")
        first = await town.send("ada", Query(question="which port?"))
        await ada.wait_for_idle()
        scripted_backend.script = _says("the other")  # its reply comes behind whatever the first round had sent
        second = await town.send("ada", Query(question="and which other one?"))
        mail = await mail_of(town, 2)
        assert mail == [("ada", "8321", first.message_id), ("ada", "the other", second.message_id)]


async def test_a_question_that_the_supervisor_answers_leaves_the_mailbox(town_dir: Any, scripted_backend: Any) -> None:
    async with town_dir.open() as town:
        await town.spawn("ada")
        question = await town.send("supervisor", Query(question="which port?"), sender="ada")
        await town.send("supervisor", Query(question="and which host?"), sender="ada")
        await town.send(
            "ada",
            Informational(summary="8321"),
            message_id=answer_id(question.message_id),
            correlation_id=question.message_id,
        )
        left = await town.wait_until(town.inbox, lambda messages: len(messages) == 1)
        assert [message.text for message in left] == ["and which host?"]


async def test_mail_that_asks_nothing_and_tasks_are_not_answered(town_dir: Any, scripted_backend: Any) -> None:
    scripted_backend.script = _says("noted")
    async with town_dir.open() as town:
        ada = await town.spawn("ada")
        await ada.send(Informational(summary="the port is 8321"))
        await ada.wait_for_idle()
        await town.wait_for_task((await ada.assign("do it")).id)
        sent = await town.send("ada", Query(question="done?"))
        assert await mail_of(town, 1) == [("ada", "noted", sent.message_id)]


def _says(text: str) -> Any:
    async def script(work: Any, report: Any) -> Finished:
        return Finished(text=text)

    return script
