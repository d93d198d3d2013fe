"""``tt task why`` against real towns: every reason that it knows is brought about, and found."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import trio
from tinytown.contracts import Failed, Finished, Gate, RateLimited, Unavailable, Usage, Verdict
from tinytown_cli import administration, backlog_pickup, hosting
from tinytown_cli.client import open_town_client
from tinytown_ops.explain import blockers
from tinytown_ops.explain.blockers import Blocker, agent_reasons, task_blockers
from tinytown_ops.explain.situation import read_situation
from tinytown_testing.scripted_backend import answers
from tinytown_testing.shell import Shell

pytestmark = pytest.mark.usefixtures("deadline")


def walk(reasons: Iterable[Blocker]) -> list[Blocker]:
    return [each for reason in reasons for each in (reason, *walk(reason.because))]


async def why(town_dir, task: Any) -> list[Blocker]:
    """The reasons and those behind them, as the command finds them."""

    def look() -> list[Blocker]:
        with open_town_client(town_dir.root) as town:
            found = town.run(town.operations.task(task.id))
            return walk(task_blockers(found, read_situation(town, [found])))

    return await trio.to_thread.run_sync(look)


async def codes(town_dir, task: Any) -> list[str]:
    return [each.code for each in await why(town_dir, task)]


async def comes(town_dir, town, task: Any, *wanted: str) -> list[Blocker]:
    """The reasons once they are these."""
    while True:
        seen = town.position.value
        found = await why(town_dir, task)
        if [each.code for each in found] == list(wanted):
            return found
        await town.wait_for_change(seen)


def test_every_reason_that_there_is_is_brought_about_here() -> None:
    source = "".join(Path(str(module.__file__)).read_text() for module in (blockers, backlog_pickup, hosting))
    known = set(re.findall(r'(?:code=|add\(|[bB]locker\(\s*)"([a-z_]+)"', source)) | {
        "completed",
        "failed",
        "cancelled",
    }
    assert len(known) > 25
    here = Path(__file__).read_text()
    assert {each for each in known if here.count(f'"{each}"') < 1} == set()


async def test_a_town_may_keep_untagged_work_for_people(town_dir, scripted_backend) -> None:
    town_dir.configure('auto_claim = "tagged"\n')
    async with town_dir.open() as town:
        await town.spawn("ada")
        (reason,) = await why(town_dir, await town.add_task("whoever"))
        assert reason.code == "no_words"


async def test_without_a_kernel_nothing_is_taken_up(town_dir, scripted_backend) -> None:
    async with town_dir.connect() as town:
        agent = await town.spawn("ada", role="builder")
        task = await agent.assign("do it")
        (reason,) = await why(town_dir, task)
        assert (reason.code, reason.fix, reason.agent) == ("no_kernel", "tt start --background", "ada")
        waiting = await town.add_task("whoever", role="builder")
        assert await codes(town_dir, waiting) == ["on_backlog", "no_kernel"]


async def test_a_blocked_task_is_explained_down_to_the_last_need(town_dir, scripted_backend) -> None:
    async with town_dir.connect() as town:
        agent = await town.spawn("ada")
        await agent.interrupt()
        first = await agent.assign("lay the ground")
        second = await agent.assign("build", needs=[first.id])
        last = await agent.assign("paint", needs=[second.id])
        found = await why(town_dir, last)
        assert [each.code for each in found] == ["need_open", "need_open", "agent_paused", "no_kernel"]
        assert f"{first.id[:8]} (lay the ground), which is assigned to ada" in found[1].text
        assert found[2].fix == "tt resume ada"
        await town.run(town.operations.settle_task("fail", first.id, text="the ground is rock"))
        found = await why(town_dir, last)
        assert [each.code for each in found] == ["need_open", "need_failed"]
        assert "the ground is rock" in found[1].text
        assert f"tt task reopen {first.id}" in found[1].fix
        assert await codes(town_dir, first) == ["failed"]
        await town.cancel_task(second.id)
        assert await codes(town_dir, second) == ["cancelled"]
        await town.link.command("DEL", f"tt:{{t}}:task:{second.id}")
        assert await codes(town_dir, last) == ["need_gone"]


async def test_a_task_with_hundreds_of_needs_is_explained_in_a_few_lines(town_dir, scripted_backend) -> None:
    async with town_dir.connect() as town:
        agent = await town.spawn("ada")
        needs = [(await agent.assign(f"part {number}")).id for number in range(12)]
        task = await agent.assign("all of it", needs=needs)
        found = await codes(town_dir, task)
        assert found.count("need_open") == 8
        assert found[-1] == "more_needs"


async def test_a_held_task_says_who_holds_it_and_until_when(town_dir, scripted_backend) -> None:
    async with town_dir.connect() as town:
        first = await town.add_task("first")
        task = await town.add_task("then this", needs=[first.id])
        await town.run(
            administration.hold_task(
                town.operations.keys, task.id, reason="the customer thinks about it", until="2999-01-01T00:00:00Z"
            )
        )
        found = await why(town_dir, task)
        assert [each.code for each in found] == ["held", "need_open", "nobody_fits"]
        assert found[0].text.startswith("it is on hold: the customer thinks about it, until ")
        assert found[0].fix == f"tt task release {task.id}"


async def test_a_task_says_who_has_declined_it_before(town_dir, scripted_backend) -> None:
    declined = {"declined": [{"agent": "ada", "cli": "claude", "reason": "I cannot help with that"}]}

    async def script(work: Any, report: Any) -> None:
        await trio.sleep_forever()

    scripted_backend.script = script
    async with town_dir.open() as town:
        agent = await town.spawn("ben")
        task = await agent.assign("do it", meta={"ops": declined})
        found = await comes(town_dir, town, task, "running", "declined")
        assert (found[1].text, found[1].agent) == ("taken over from ada (claude): I cannot help with that", "ada")


async def test_a_part_of_what_waits_says_with_what_it_waits(town_dir) -> None:
    async with town_dir.connect() as town:
        first = await town.add_task("first")
        whole = await town.add_task("the whole", needs=[first.id])
        part = await town.add_task("a part", parent=whole.id)
        inner = await town.add_task("a part of it", parent=part.id)
        for task in (part, inner):
            above, need, *_ = await why(town_dir, task)
            assert (above.code, above.task) == ("parent_waits", whole.id)
            assert (need.code, need.task) == ("need_open", first.id)
        own = await town.add_task("needs its own part")
        piece = await town.add_task("the piece", parent=own.id)
        await town.run(administration.update_task(town.operations, own.id, needs=[piece.id]))
        assert "parent_waits" not in await codes(town_dir, piece)
        later = await town.add_task("later", held="not yet", held_until="2100-01-01T00:00:00Z")
        child = await town.add_task("child", parent=later.id)
        assert (await codes(town_dir, child))[:2] == ["parent_waits", "held"]
        grandchild = await town.add_task("grandchild", parent=child.id)
        assert "parent_waits" not in await codes(town_dir, grandchild)
        await town.complete_task(first.id)
        assert "parent_waits" not in await codes(town_dir, inner)


async def test_a_long_chain_of_needs_comes_to_an_end(town_dir, scripted_backend) -> None:
    async with town_dir.connect() as town:
        agent = await town.spawn("ada")
        task = await agent.assign("the first")
        for number in range(40):
            task = await agent.assign(f"link {number}", needs=[task.id])
        assert await codes(town_dir, task) == ["need_open"] * 12


async def test_who_would_take_a_task_of_the_backlog_and_why_they_do_not(town_dir, scripted_backend) -> None:
    released = trio.Event()

    async def work(work, report) -> Finished:
        await released.wait()
        return Finished(text="done")

    scripted_backend.script = work
    async with town_dir.open() as town:
        plain = await town.add_task("whoever likes to")
        (reason,) = await why(town_dir, plain)
        assert (reason.code, reason.text) == (
            "nobody_fits",
            "it is on the backlog: there is no agent without role and tags",
        )
        task = await town.add_task("look at it", role="reviewer", tags=["python"])
        (reason,) = await why(town_dir, task)
        assert reason.code == "nobody_fits"
        assert "the role reviewer or the tag python" in reason.text
        assert "tt spawn NAME --role reviewer" in reason.fix
        await town.cancel_task(task.id)
        busy = await town.spawn("ada", tags=["python"])
        await busy.assign("something else")
        await scripted_backend.wait_for_rounds(1)
        task = await town.add_task("look at it again", role="reviewer", tags=["python"])
        found = await comes(town_dir, town, task, "on_backlog", "agent_busy")
        assert "something else" in found[1].text
        for number in range(9):
            agent = await town.spawn(f"bob{number}", role="tester")
            await agent.interrupt()
            await agent.wait_until(lambda agent: agent.state == "paused")
        task = await town.add_task("try it", role="tester", tags=["python"])
        found = await why(town_dir, task)
        assert {each.code for each in found} == {"on_backlog", "agent_busy", "agent_paused", "more_agents"}
        released.set()


async def test_an_agent_that_finishes_up_takes_nothing_more(town_dir, scripted_backend) -> None:
    async with town_dir.connect() as town:
        agent = await town.spawn("ada", tags=["python"])
        await town.run(town.operations.set_desired_state(agent.id, "drained"))
        task = await town.add_task("look at it", tags=["python"])
        found = await why(town_dir, task)
        assert [each.code for each in found] == ["on_backlog", "agent_draining"]
        await agent.kill()
        assert await codes(town_dir, task) == ["on_backlog", "agent_stopped"]


async def test_agents_that_take_nothing_by_themselves_have_to_be_given_it(town_dir, scripted_backend) -> None:
    town_dir.configure("auto_claim = false\n")
    async with town_dir.open() as town:
        await town.spawn("ada", tags=["python"])
        assert await codes(town_dir, await town.add_task("look at it", tags=["python"])) == ["no_auto_claim"]


async def test_a_task_behind_others_says_what_is_before_it(town_dir, scripted_backend) -> None:
    released = trio.Event()

    async def work(work, report) -> Finished:
        await released.wait()
        return Finished(text="done")

    scripted_backend.script = work
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        first, second, third = [await agent.assign(text) for text in ("first", "second", "third")]
        await scripted_backend.wait_for_rounds(1)
        (reason,) = await comes(town_dir, town, first, "running")
        assert reason.text.startswith("ada has been working on it for ")
        assert await codes(town_dir, second) == ["agent_busy"]
        found = await why(town_dir, third)
        assert [each.code for each in found] == ["agent_busy", "order_behind"]
        assert found[1].text.startswith("1 message ahead of it")
        released.set()
        await town.wait_for_task(third.id)
        assert await codes(town_dir, third) == ["completed"]


async def test_a_failed_round_is_tried_again_later(town_dir, scripted_backend) -> None:
    town_dir.configure(retry_delay_s=60, max_attempts=5)
    scripted_backend.script = answers(RuntimeError("no luck"))
    async with town_dir.open() as town:
        task = await (await town.spawn("ada")).assign("do it")
        found = await comes(town_dir, town, task, "order_delayed")
        assert "no luck" in found[0].text
        assert re.search(r"it is retried at \d\d:\d\d:\d\d \(in (60|59) s\): ", found[0].text)


async def test_a_rate_limited_account_is_the_reason(town_dir, scripted_backend) -> None:
    scripted_backend.script = answers(RateLimited(retry_after_s=600))
    async with town_dir.open() as town:
        task = await (await town.spawn("ada")).assign("do it")
        (reason,) = await comes(town_dir, town, task, "account_parked")
        assert re.fullmatch(r"the account scripted is rate limited until [\d:]+ \(in 10 min\)", reason.text)
        assert reason.fix == "tt accounts unpark scripted"


async def test_a_spent_budget_is_the_reason(town_dir, scripted_backend) -> None:
    town_dir.configure("[budgets]\nagent_usd = 0.5\n")
    scripted_backend.script = answers(Finished(text="done", usage=Usage(cost_usd=1.0)))
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        await town.wait_for_task((await agent.assign("something dear")).id)
        (reason,) = await comes(town_dir, town, await agent.assign("more of it"), "budget_spent")
        assert "budget agent_usd is spent" in reason.text
        assert reason.fix.startswith("tt budget")


async def test_a_task_that_has_spent_its_own_budget_says_so(town_dir, scripted_backend) -> None:
    town_dir.configure("[budgets]\ntask_usd = 0.5\n", retry_delay_s=0.05, max_attempts=9)
    scripted_backend.script = answers(Failed(reason="no luck", usage=Usage(cost_usd=1.0)))
    async with town_dir.open() as town:
        task = await (await town.spawn("ada")).assign("something dear")
        while "budget_spent" not in (found := await codes(town_dir, task)):
            await town.wait_for_change(town.position.value)
        assert "failed" not in found


async def test_an_agent_in_error_is_the_reason_with_its_own(town_dir, scripted_backend) -> None:
    scripted_backend.script = answers(Unavailable(reason="no such program: clawd", hint="install it"))
    async with town_dir.open() as town:
        task = await (await town.spawn("ada")).assign("do it")
        found = await comes(town_dir, town, task, "agent_error")
        assert "no such program: clawd; install it" in found[0].text
        assert "tt resume ada" in found[0].fix


async def test_a_kind_that_no_kernel_has_is_the_reason(town_dir, scripted_backend) -> None:
    async with town_dir.connect() as town:  # while a kernel runs, nobody is spawned of a kind that it does not have
        await town.spawn("ada", cli="ghost")
    async with town_dir.open() as town:
        task = await (await town.agent("ada")).assign("do it")
        (reason,) = await comes(town_dir, town, task, "no_backend")
        assert "install its plugin" in reason.fix


async def test_a_label_that_no_kernel_has_is_the_reason(town_dir, scripted_backend) -> None:
    async with town_dir.open() as town:
        task = await (await town.spawn("ada", labels=["gpu"])).assign("do it")
        (reason,) = await comes(town_dir, town, task, "no_label")
        assert "gpu" in reason.text
        assert "tt hosts" in reason.fix


async def test_a_kernel_that_is_full_is_the_reason(town_dir, scripted_backend) -> None:
    town_dir.configure("capacity = 1\n")
    async with town_dir.open() as town:
        await (await town.spawn("ada")).wait_until(lambda agent: agent.state == "idle")
        await comes(town_dir, town, await (await town.spawn("bob")).assign("do it"), "no_room")


async def test_gates_that_judge_are_the_reason(town_dir, scripted_backend) -> None:
    released = trio.Event()

    class Judge(Gate):
        name = "judge"

        async def check(self, work, directory) -> Verdict:
            await released.wait()
            return Verdict(passed=True)

    scripted_backend.gates = [Judge()]
    async with town_dir.open() as town:
        task = await (await town.spawn("ada")).assign("do it")
        await comes(town_dir, town, task, "verifying")
        released.set()
        await town.wait_for_task(task.id)


async def test_what_a_foreign_hand_has_taken_away_is_the_reason(town_dir, scripted_backend) -> None:
    async with town_dir.connect() as town:
        agent = await town.spawn("ada")
        task = await agent.assign("do it")
        async with town_dir.open() as kernel:
            await (await kernel.agent("ada")).wait_until(lambda agent: agent.state == "idle")
            await agent.interrupt()
            await agent.wait_until(lambda agent: agent.state == "paused")
            task = await agent.assign("again")
            for key in ("queue", "bodies"):
                await town.link.command("DEL", f"tt:{{t}}:mail:{agent.id}:{key}")
            assert await codes(town_dir, task) == ["agent_paused", "order_missing"]
        for key in ("agents", f"agent:{agent.id}"):
            await town.link.command("DEL", f"tt:{{t}}:{key}")
        assert await codes(town_dir, task) == ["agent_gone"]


async def join(town) -> None:
    """Take part in the town as a kernel that does nothing."""
    about = {"name": "elsewhere", "backends": "scripted", "capacity": "9"}
    await town.run(town.operations.register_host("h1", lease_ms=3_600_000, details=about))


async def test_an_agent_between_kernels_waits_for_one_or_sleeps(town_dir, scripted_backend) -> None:
    async with town_dir.connect() as town:
        await join(town)
        agent = await town.spawn("ada")
        task = await agent.assign("do it")
        assert await codes(town_dir, task) == ["no_host"]
        asleep = ("state", "suspended", "reason", "asleep: there is nothing to do")
        await town.link.command("HSET", f"tt:{{t}}:agent:{agent.id}", *asleep)
        assert await codes(town_dir, task) == ["agent_asleep"]


async def test_a_task_that_nothing_holds_up_is_about_to_begin(town_dir, scripted_backend) -> None:
    async with town_dir.connect() as town:
        await join(town)
        agent = await town.spawn("ada", tags=["python"])
        (placed,) = (await town.run(town.operations.place_agents("h1", ["scripted"], count=1))).agents
        await town.run(town.operations.report_agent_state(agent.id, placed.token or "", "idle"))
        waiting = await town.add_task("whoever", tags=["python"])
        assert await codes(town_dir, waiting) == ["on_backlog", "about_to_begin"]
        task = await agent.assign("do it")
        assert await codes(town_dir, task) == ["about_to_begin"]
        await town.run(
            town.operations.report_agent_state(agent.id, placed.token or "", "idle", "it is somebody's birthday")
        )
        (reason,) = await why(town_dir, task)
        assert (reason.code, reason.text) == ("agent_waits", "ada is waiting: it is somebody's birthday")


async def test_a_hold_and_a_frozen_town_are_reasons(town_dir, scripted_backend) -> None:
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        task = await agent.assign("do it", held="until the design is agreed", held_until="2100-01-01T00:00:00Z")
        (reason,) = await why(town_dir, task)
        assert (reason.code, reason.fix) == ("held", f"tt task release {task.id}")
        assert "until the design is agreed" in reason.text
        await town.run(administration.freeze(town.operations.keys, reason="the bill"))
        await town.run(administration.release_task(town.operations.keys, task.id))
        found = await comes(town_dir, town, task, "town_frozen")
        assert found[0].fix == "tt thaw"
        assert "the bill" in found[0].text


def test_tt_why_explains_a_task_an_agent_and_all_that_is_open(in_town: Shell) -> None:
    assert in_town("why").out == "no open tasks\n"
    in_town("spawn", "ada", "--cli", "shell", "--no-start")
    task = in_town.json("assign", "ada", "work", "--no-start")["task_id"]
    for words in (("why", task[:8]), ("why",)):
        shown = in_town(*words).out
        assert shown.startswith(f"task {task} (work) is assigned\n")
        assert "no kernel is running\n    -> tt start --background" in shown
    assert in_town.json("why", task)["reasons"] == in_town.json("task", "why", task)["reasons"]
    assert [entry["task"]["id"] for entry in in_town.json("why")["tasks"]] == [task]
    about = in_town("why", "ada").out
    assert about.startswith("agent ada is starting\n")
    assert "no kernel is running" in about
    in_town("interrupt", "ada")
    assert in_town.json("why", "ada")["reasons"][0]["code"] == "agent_paused"
    assert "did you mean ada?" in in_town("why", "adda", code=3).err


async def test_an_agent_with_nothing_to_do_is_idle(town_dir, scripted_backend) -> None:
    async with town_dir.open() as town:
        agent = await town.spawn("ada")
        await agent.wait_for_idle()

        def look() -> tuple[Blocker, ...]:
            with open_town_client(town_dir.root) as client:
                return agent_reasons(client.run(client.operations.agent("ada")), read_situation(client, []))

        (reason,) = await trio.to_thread.run_sync(look)
        assert (reason.code, reason.text) == ("idle", "no work assigned")
