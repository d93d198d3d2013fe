"""What sessions report while they work: activities as events, and questions that come back with an answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import trio
from tinytown.contracts import Diff, Finished, Plan, PlanEntry, QuestionHandler, Said, ToolCall, WorkContext


class Policy(QuestionHandler):
    """Answers as configured, and notes what it is asked."""

    def __init__(self, name: str, answer: Any = None) -> None:
        self.name = name
        self.answer = answer
        self.asked: list[tuple[str, str, tuple[str, ...]]] = []

    async def ask(self, work: WorkContext, question: str, options: Sequence[str]) -> str | None:
        self.asked.append((work.agent.name, question, tuple(options)))
        if isinstance(self.answer, BaseException):
            raise self.answer
        if self.answer == "sleep":
            await trio.sleep_forever()
        answer: str | None = self.answer
        return answer


async def test_what_the_model_does_becomes_events_that_screens_can_show(town_dir, scripted_backend) -> None:
    plan = Plan(entries=(PlanEntry(text="look", status="completed"), PlanEntry(text="write")))
    call = ToolCall(id="1", title="Read src/a.py", kind="read", paths=("src/a.py",))

    async def script(work: Any, report: Any) -> Finished:
        report.activity(call)
        report.activity(ToolCall(id="1", title="Read src/a.py", kind="read", status="completed"))
        report.activity(plan)
        report.activity(Diff(path="src/a.py", diff="-old\n+new\n"))
        report.activity(Said(text="long " * 10_000))
        for nonsense in (5, None, {"type": "plan"}, Plan(entries=(3,))):  # type: ignore[arg-type]
            report.activity(nonsense)
        for number in range(100):
            report.activity(ToolCall(id=f"many-{number}", title="x"))
        return Finished(text="done")

    scripted_backend.script = script
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await town.wait_for_task((await agent.assign("do it")).id)
        reported = await town_dir.wait_for_events(town, 50, "agent_activity", agent="ada", task=task.id)
    assert [(event["kind"], event["text"]) for event in reported[:3]] == [
        ("tool_call", "Read src/a.py: completed"),
        ("plan", "plan: 1 of 2 steps done"),
        ("diff", "changed src/a.py"),
    ]
    assert json.loads(reported[1]["data"])["entries"][1] == {"text": "write", "status": "pending"}
    assert json.loads(reported[3]["data"])["text"].startswith("long long")
    assert len(reported) == 50
    assert {event["round_id"] for event in reported} == {scripted_backend.rounds[0].round_id}


async def ask(town_dir: Any, scripted_backend: Any, *options: str, timeout_s: float = 30.0) -> str | None:
    """What comes back of a question."""
    answers: list[str | None] = []

    async def script(work: Any, report: Any) -> Finished:
        answers.append(await report.ask("May I?", options, timeout_s=timeout_s))
        return Finished()

    scripted_backend.script = script
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        await town.wait_for_task((await agent.assign("do it")).id)
    (answer,) = answers
    return answer


async def test_the_first_handler_with_an_answer_decides(town_dir, scripted_backend) -> None:
    first, second, third = Policy("first"), Policy("second", "yes"), Policy("third", "no")
    scripted_backend.question_handlers = [first, second, third]
    assert await ask(town_dir, scripted_backend, "yes", "no") == "yes"
    assert first.asked == second.asked == [("ada", "May I?", ("yes", "no"))]
    assert third.asked == []


@pytest.mark.parametrize("answer", [ValueError("oops"), SystemExit(2), "perhaps", 5])
async def test_a_handler_that_fails_or_answers_something_else_is_passed_over(
    town_dir, scripted_backend, answer
) -> None:
    scripted_backend.question_handlers = [Policy("odd", answer), Policy("good", "no")]
    assert await ask(town_dir, scripted_backend, "yes", "no") == "no"


async def test_without_an_answer_in_time_there_is_none(town_dir, scripted_backend) -> None:
    scripted_backend.question_handlers = [Policy("slow", "sleep")]
    assert await ask(town_dir, scripted_backend, timeout_s=0.1) is None
