"""Questions of agents in the middle of a round: listed, answered by people, and withdrawn with their round."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from typing import Any

import msgspec
import pytest
import trio
from tinytown.contracts import Finished
from tinytown_ops.questions.record import Question, questions_in

DEADLINE_S = 60.0


async def tt(town_dir: Any, *words: str, code: int = 0, **variables: str) -> dict[str, Any]:
    """What a command prints as JSON."""
    command = [sys.executable, "-m", "tinytown", *words, "--json", "--town", str(town_dir.root)]
    env = {**os.environ, "TINYTOWN_NO_KERNEL": "1", **variables}
    run = partial(subprocess.run, command, env=env, capture_output=True, text=True, check=False)
    done = await trio.to_thread.run_sync(run)
    assert done.returncode == code, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stderr if code else done.stdout)
    return answer


async def open_question(town_dir: Any, count: int = 1) -> list[dict[str, Any]]:
    while len(found := (await tt(town_dir, "questions"))["questions"]) != count:  # noqa: ASYNC110 - another process asks
        await trio.sleep(0.05)
    return list(found)


async def test_a_question_reaches_a_person_and_the_answer_comes_back(town_dir, scripted_backend) -> None:
    answers: list[str | None] = []

    async def script(work: Any, report: Any) -> Finished:
        answers.append(await report.ask("Delete build/?", ["Yes", "No, never"]))
        answers.append(await report.ask("What is it called?"))
        return Finished(text="done")

    scripted_backend.script = script
    with trio.fail_after(DEADLINE_S):
        async with town_dir.open() as town:
            task = await (await town.spawn("ada")).assign("do it")
            (question,) = await open_question(town_dir)
            assert (question["agent"], question["question"], question["options"]) == (
                "ada",
                "Delete build/?",
                ["Yes", "No, never"],
            )
            (letter,) = [message for message in await town.inbox() if message.id == question["id"]]
            assert "  2. No, never\n" in letter.text
            assert "tt answer" in letter.text
            error = await tt(town_dir, "answer", question["id"], "perhaps", code=2)
            assert "expected one of 'Yes', 'No, never', got 'perhaps'" in error["error"]["message"]
            await tt(town_dir, "answer", "ffffffff-no", "Yes", code=3)
            assert (await tt(town_dir, "answer", question["id"][:8], "no"))["answer"] == "No, never"
            while (await open_question(town_dir))[0]["id"] == question["id"]:  # noqa: ASYNC110 - it tells nobody
                await trio.sleep(0.05)
            (question,) = await open_question(town_dir)
            await tt(town_dir, "answer", question["id"], "Tinytown")
            assert (await town.wait_for_task(task.id)).state == "completed"
            assert await open_question(town_dir, 0) == []
            assert questions_in(await town.run(town.operations.plugin_data("ops"))) == ()
            assert "query" not in {message.category for message in await town.inbox()}, "letters of answered questions"
            assert (await town_dir.wait_for_events(town, 2, "question_asked"))[0]["agent"] == "ada"
    assert answers == ["No, never", "Tinytown"]


async def test_a_question_goes_with_its_round(town_dir, scripted_backend) -> None:
    async def script(work: Any, report: Any) -> Finished:
        await report.ask("May I?")
        raise AssertionError("nobody has answered")

    scripted_backend.script = script
    with trio.fail_after(DEADLINE_S):
        async with town_dir.open() as town:
            agent = await town.spawn("ada")
            await agent.assign("do it")
            (question,) = await open_question(town_dir)
            await agent.interrupt(now=True)
            await agent.wait_until(lambda now: now.state == "paused")
            assert await open_question(town_dir, 0) == []
            await tt(town_dir, "answer", question["id"], "yes", code=3)
            assert question["id"] not in {message.id for message in await town.inbox()}


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("1", "Yes"),
        ("2", "Yes, always"),
        ("yes", "Yes"),
        ("NO", "No"),
        ("n", "No"),
        ("y", None),
        ("4", None),
        ("", None),
    ],
)
def test_an_answer_is_an_option_its_number_or_its_beginning(text: str, chosen: str | None) -> None:
    question = Question(id="q", agent="ada", question="May I?", options=("Yes", "Yes, always", "No"))
    assert question.chosen(text) == chosen


def test_what_cannot_be_read_is_no_question() -> None:
    good = {"id": "q", "agent": "ada", "question": "May I?"}
    data = {"question.q": good, "question.bad": {"id": 5}, "question.done": {**good, "answer": "yes"}, "other": good}
    assert [question.id for question in questions_in(data)] == ["q"]


@pytest.mark.parametrize("command", ["approve", "deny", "answer"])
async def test_an_id_that_two_questions_begin_with_answers_neither(town_dir, scripted_backend, command: str) -> None:
    async def script(work: Any, report: Any) -> Finished:
        await report.ask("may I run: git push?", ("allow", "deny"))
        return Finished(text="done")

    scripted_backend.script = script
    with trio.fail_after(DEADLINE_S):
        async with town_dir.open() as town:
            ada = await town.spawn("ada")
            task = await ada.assign("do it")
            (question,) = await open_question(town_dir)
            (asked,) = questions_in(await town.run(town.operations.plugin_data("ops")))
            twin = msgspec.structs.replace(asked, id=f"{asked.id[:8]}-another")
            await town.run(town.operations.set_plugin_field("ops", twin.field, msgspec.to_builtins(twin)))
            words = ["allow"] if command == "answer" else []
            error = (await tt(town_dir, command, question["id"][:8], *words, code=2))["error"]
            assert (error["code"], twin.id in error["message"]) == ("ambiguous", True)
            assert len(await open_question(town_dir, 2)) == 2
            await tt(town_dir, "approve", question["id"])
            assert (await town.wait_for_task(task.id)).state == "completed"


@pytest.mark.parametrize(("command", "answer"), [("approve", "allow"), ("deny", "deny")])
async def test_a_permission_is_approved_or_denied(town_dir, scripted_backend, command: str, answer: str) -> None:
    answers: list[str | None] = []

    async def script(work: Any, report: Any) -> Finished:
        answers.append(await report.ask("may I run: git push?", ("allow", "deny")))
        answers.append(await report.ask("What is it called?"))
        return Finished(text="done")

    scripted_backend.script = script
    with trio.fail_after(DEADLINE_S):
        async with town_dir.open() as town:
            agent = await town.spawn("ada")
            task = await agent.assign("do it")
            (question,) = await open_question(town_dir)
            inside = {"TINYTOWN_AGENT_ID": agent.id, "TINYTOWN_ROUND_ID": "r", "TINYTOWN_AGENT_NAME": "ada"}
            await tt(town_dir, command, question["id"], code=4, **inside)
            reported = await tt(town_dir, command, question["id"][:8])
            assert reported == {"question": question["id"], "agent": "ada", "answer": answer}
            while (found := (await open_question(town_dir))[0])["id"] == question["id"]:  # noqa: ASYNC110 - it tells nobody
                await trio.sleep(0.05)
            await tt(town_dir, command, found["id"], code=3)  # no permission: what would a yes say?
            await tt(town_dir, "answer", found["id"], "Tinytown")
            assert (await town.wait_for_task(task.id)).state == "completed"
    assert answers == [answer, "Tinytown"]
