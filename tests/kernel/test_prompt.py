"""What the kernel collects for a prompt: earlier attempts, needed tasks, the role, the way to report; and who makes it."""

from __future__ import annotations

from typing import Any

import trio
from tinytown.contracts import Failed, Finished, Gate, Verdict
from tinytown.model.ids import SUPERVISOR
from tinytown.model.messages import Informational
from tinytown_cli import administration


async def forever(work: Any, report: Any) -> None:
    await trio.sleep_forever()


async def test_a_rejection_is_told_until_the_work_is_accepted_whatever_happens_in_between(
    town_dir, scripted_backend, scripted_answers
) -> None:
    scripted_backend.script = scripted_answers(
        Finished(text="my first go"), forever, Failed(reason="no space left"), Finished(text="ok")
    )
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await agent.assign("do it")
        await town.wait_for_task(task.id)
        await town.run(administration.reopen_task(town.operations.keys, task.id, reason="the tests\nare red"))
        await scripted_backend.wait_for_rounds(2)
        await agent.interrupt(now=True)
        await agent.wait_until(lambda info: info.state == "paused")
        await agent.resume()
        assert (await town.wait_for_task(task.id)).result == "ok"
        reported = [round.prompt for round in scripted_backend.rounds]
        assert "rejected" not in reported[0]
        for prompt in reported[1:]:
            assert "```text\nthe tests\nare red\n```" in prompt
            assert "```text\nmy first go\n```" in prompt
        assert "Why it is yours again" not in reported[1]
        assert "Why you have it now: a person interrupted your last round" in reported[2]
        assert "Why you have it now: no space left" in reported[3]
        assert (await town.task(task.id)).rejection == "the tests\nare red"


async def test_what_a_gate_has_against_the_work_is_a_rejection_too(town_dir, scripted_backend) -> None:
    scripted_backend.gates = [Strict()]
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        done = await town.wait_for_task((await agent.assign("do it")).id)
        assert (done.state, done.rejection) == ("completed", "gate strict: not the first time")
        assert "```text\ngate strict: not the first time\n```" in scripted_backend.rounds[1].prompt


class Strict(Gate):
    name = "strict"

    async def check(self, work: Any, directory: Any) -> Verdict:
        return Verdict(passed=work.task.attempts > 1, evidence="not the first time")


async def test_the_instructions_of_a_role_are_in_the_prompt_of_who_has_it(town_dir, scripted_backend) -> None:
    town_dir.configure('[roles.reviewer]\ninstructions = "Look twice."\n')
    async with town_dir.open() as town:
        for name, role in (("rita", "reviewer"), ("ada", "programmer"), ("bob", "")):
            agent = await town.spawn(name, role=role)
            await town.wait_for_task((await agent.assign("do it")).id)
        reported = [round.prompt for round in scripted_backend.rounds]
        assert "## Your role: reviewer\n\nAn agent of this role reviews finished work" in reported[0]
        assert "Look twice." in reported[0]
        assert ["Your role" in prompt for prompt in reported] == [True, False, False]
        assert (await (await town.agent("rita")).info()).tags == ("review", "audit")


async def test_a_backend_that_offers_the_towns_tools_gets_prompts_that_speak_of_them(
    town_dir, scripted_backend
) -> None:
    scripted_backend.backends[0].offers_town_tools = "town_{}"
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        await town.wait_for_task((await agent.assign("do it")).id)
        await town.send("ada", "tidy up", sender=SUPERVISOR)
        await scripted_backend.wait_for_rounds(2)
        assert "- `town_task_complete` when" in scripted_backend.rounds[0].prompt
        assert "task_complete" not in scripted_backend.rounds[1].prompt
        assert "`town_send` gives another agent work" in scripted_backend.rounds[1].prompt


async def test_without_a_plugin_that_makes_prompts_a_prompt_is_the_task_and_the_mail(
    town_dir, scripted_backend
) -> None:
    town_dir.configure('blocked_plugins = ["prompts"]\n')
    scripted_backend.sections = lambda agent, task: ["## House rules"]
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        await agent.interrupt()
        await agent.wait_until(lambda agent: agent.state == "paused")
        task = await agent.assign("do `it`\n```\n# Task 13")
        await town.send("ada", Informational(summary="mind the gap"), sender=SUPERVISOR)
        await agent.resume()
        await town.wait_for_task(task.id)
        assert scripted_backend.rounds[0].prompt == (
            f"# Task {task.id}\n\n````text\ndo `it`\n```\n# Task 13\n````\n\n"
            "# Message from 'supervisor'\n\n```text\nmind the gap\n```\n\n## House rules\n"
        )


async def test_a_plugin_that_fails_to_make_a_prompt_is_reported_and_the_round_takes_place(
    town_dir, scripted_backend, monkeypatch
) -> None:
    monkeypatch.setattr("tinytown_prompts.plugin.build_prompt", lambda parts, config, guide: 1 / 0)
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await town.wait_for_task((await agent.assign("do it")).id)
        assert task.state == "completed"
        assert scripted_backend.rounds[0].prompt.startswith(f"# Task {task.id}\n\n```text\ndo it\n```\n")
        (report,) = await town_dir.wait_for_events(town, 1, "plugin_reported", plugin="prompts")
        assert "tinytown_prompt: ZeroDivisionError" in report["text"]
