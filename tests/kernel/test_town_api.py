"""The town as a program uses it: `tinytown.open_town` with the plugins that ship, every method of Town and AgentHandle."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import tinytown
import trio
import trio.lowlevel
from tinytown.errors import ConfigError, NotFound, PluginError, Refused, UsageError, WaitFailed
from tinytown.model.events import TaskStateChanged
from tinytown.model.messages import Informational, Query
from tinytown_cli import administration
from tinytown_server.server import EmbeddedServer

SHELL = 'default_cli = "shell"\n'
ECHO = 'default_cli = "echo"\n'
FRONT_PAGE = Path(__file__).parents[2] / "README.md"


async def test_three_agents_design_first_and_then_build_both_halves_at_once(town_dir) -> None:
    town_dir.configure(ECHO + "[plugins.echo]\ndelay_s = 0.3\n")
    async with tinytown.open_town(town_dir.root) as town:
        designer = await town.spawn("designer")
        backend = await town.spawn("backend")
        frontend = await town.spawn("frontend")

        design = await designer.assign("Design the API")
        await designer.wait_for_idle()

        began = trio.current_time()
        server = await backend.assign("Build the server", needs=[design.id])
        client = await frontend.assign("Build the client", needs=[design.id])
        await town.wait_for_idle(backend, "frontend")

        assert trio.current_time() - began < 0.6  # both at once
        assert (await town.task(design.id)).result == "echo: Design the API"
        assert (await town.task(server.id)).result == "echo: Build the server"
        assert (await town.task(client.id)).result == "echo: Build the client"
        assert [agent.tasks_completed for agent in await town.agents()] == [1, 1, 1]


async def test_a_plan_with_needs_runs_by_itself(town_dir) -> None:
    town_dir.configure(ECHO)
    async with tinytown.open_town(str(town_dir.root)) as town:
        ada, bea = await town.spawn("ada"), await town.spawn("bea")
        first = await ada.assign("first")
        second = await bea.assign("second", needs=[first.id], title="Two", priority="high", tags=["x"])
        third = await town.add_task("third", agent="ada", needs=[second.id, first.id])
        await town.wait_for_idle()
        done = [await town.task(task.id) for task in (first, second, third)]
        assert [task.state for task in done] == ["completed"] * 3
        assert done[0].completed_at <= done[1].started_at <= done[1].completed_at <= done[2].started_at
        assert [task.id for task in await town.tasks(tag="x")] == [second.id]
        assert {task.id for task in await town.tasks(agent="ada")} == {first.id, third.id}
        assert len(await town.tasks(state="completed", limit=2)) == 2
        assert await town.tasks(state="backlog") == ()


async def test_tasks_are_settled_reopened_and_put_on_the_backlog_by_hand(town_dir) -> None:
    town_dir.configure(ECHO)
    async with tinytown.open_town(town_dir.root) as town:
        task = await town.add_task("by hand")
        assert (task.state, (await town.tasks(state="backlog"))[0].id) == ("pending", task.id)
        assert (await town.complete_task(task.id, "did it myself")).result == "did it myself"
        assert (
            await town.run(administration.reopen_task(town.operations.keys, task.id, reason="not good enough"))
        ).task.state == "pending"
        assert (await town.run(town.operations.settle_task("fail", task.id[:8], text="no time"))).reason == "no time"
        assert (await town.run(administration.reopen_task(town.operations.keys, task.id))).task.reason == "reopened"
        assert (await town.cancel_task(task.id)).state == "cancelled"
        assert (await town.wait_for_task(task.id)).state == "cancelled"
        with pytest.raises(Refused, match="is already cancelled"):
            await town.complete_task(task.id)
        with pytest.raises(NotFound, match='no task "nope"'):
            await town.task("nope")


async def test_mail_goes_to_agents_and_to_the_human_side(town_dir) -> None:
    town_dir.configure(ECHO)
    async with tinytown.open_town(town_dir.root) as town:
        agent = await town.spawn("ada", role="writer", nickname="The Pen", tags=["docs"])
        assert (await town.agent("the pen")).name == "ada"
        await agent.interrupt()
        await agent.wait_until(lambda agent: agent.state == "paused")
        sent = await agent.send("an order", priority="high")
        await town.send("ada", Query(question="why?"), sender="supervisor", correlation_id="c-1")
        assert [message.text for message in await town.inbox(agent.name)] == ["an order", "why?"]
        assert (await town.send("supervisor", Informational(summary="hello"), sender="ada")).to == "supervisor"
        assert [(message.sender, message.text) for message in await town.inbox()] == [("ada", "hello")]
        status = await town.status()
        assert (status.agents[0].mail.queued, status.supervisor_mail.informational) == (2, 1)
        assert (status.hosts[0].root, status.tasks["running"]) == (str(town_dir.root), 0)
        assert await town.run(administration.dead_letters(town.operations.keys)) == ()
        await agent.resume()
        await agent.wait_for_idle()
        story = await town.run(administration.trace(town.operations.keys, sent.message_id))
        assert [line.what.split()[0] for line in story] == ["queued", "leased", "acked"]
        with pytest.raises(NotFound, match='no agent called "nobody"'):
            await town.send("nobody", "hello?")
        with pytest.raises(UsageError, match="got an empty text"):
            await agent.send("")


async def test_events_tell_everything_that_happens_from_now_on(town_dir) -> None:
    town_dir.configure(ECHO + 'blocked_plugins = ["results"]\n')  # its gate would verify the task
    async with tinytown.open_town(town_dir.root) as town:
        agent = await town.spawn("ada")
        await agent.wait_for_idle()
        async with trio.open_nursery() as nursery:
            seen: list[str] = []

            async def follow(task_status: trio.TaskStatus[None]) -> None:
                latest = (await town.run(town.operations.latest_events(1)))[-1].id
                task_status.started()
                async for event in town.events(latest):
                    if isinstance(event, TaskStateChanged):
                        seen.append(event.new)
                        if event.new == "completed":
                            nursery.cancel_scope.cancel()

            await nursery.start(follow)
            await agent.assign("do it")
        assert seen == ["assigned", "running", "completed"]


async def test_events_without_a_position_begin_with_what_happens_next(town_dir) -> None:
    town_dir.configure(ECHO)
    async with tinytown.open_town(town_dir.root) as town:
        old = await (await town.spawn("ada")).assign("old")
        await town.wait_for_idle()
        async with trio.open_nursery() as nursery:

            async def follow() -> None:
                async for event in town.events():
                    assert not isinstance(event, TaskStateChanged) or event.task != old.id
                    nursery.cancel_scope.cancel()

            nursery.start_soon(follow)
            while True:
                await town.add_task("new")
                await trio.lowlevel.checkpoint()


async def test_interrupting_softly_waits_for_the_rounds_end_and_now_does_not(
    town_dir, wait_for_file, wait_for_round_ends
) -> None:
    town_dir.configure(SHELL)
    async with tinytown.open_town(town_dir.root) as town:
        agent = await town.spawn("ada")
        soft = await agent.assign("touch begun; while [ ! -e go ]; do sleep 0.02; done; echo went")
        await wait_for_file(town_dir.root / "begun")
        await agent.interrupt()
        waiting = await agent.assign("echo next")
        assert (await agent.info()).state == "working"
        (town_dir.root / "go").touch()
        assert (await town.wait_for_task(soft.id)).result == "went"
        await agent.wait_until(lambda agent: agent.state == "paused")
        assert (await town.task(waiting.id)).state == "assigned"
        await agent.resume()
        await town.wait_for_task(waiting.id)

        hard = await agent.assign("touch again; exec sleep 1000")
        await wait_for_file(town_dir.root / "again")
        await agent.interrupt(now=True)
        await agent.wait_until(lambda agent: agent.state == "paused")
        await wait_for_round_ends(town_dir)
        assert (await town.task(hard.id)).state == "assigned"


async def test_closing_lets_an_agent_finish_what_it_has_and_killing_does_not(town_dir, wait_for_file) -> None:
    town_dir.configure(SHELL, retry_delay_s=0.3)
    async with tinytown.open_town(town_dir.root) as town:
        ada, bea = await town.spawn("ada"), await town.spawn("bea")
        # The first attempt is lost, so the task is due again a moment after the agent was asked to close.
        tasks = [await ada.assign("test -e once || { touch once; kill -9 $$; }; echo ok"), await ada.assign("echo two")]
        await wait_for_file(town_dir.root / "once")
        await town.run(town.operations.set_desired_state(ada.id, "drained"))
        info = await ada.wait_until(lambda agent: agent.state == "stopped")
        assert (info.desired_state, info.reason) == ("stopped", "all its work is done")
        assert [(await town.task(task.id)).state for task in tasks] == ["completed", "completed"]
        with pytest.raises(Refused, match="is stopped and takes no tasks"):
            await ada.assign("more")

        running = await bea.assign("touch bea; exec sleep 1000")
        waiting = await bea.assign("echo later")
        await wait_for_file(town_dir.root / "bea")
        await bea.kill(now=True, reason="enough")
        await bea.wait_until(lambda agent: agent.state == "stopped")
        assert [(await town.task(task.id)).state for task in (running, waiting)] == ["assigned", "assigned"]
        with pytest.raises(Refused, match="it is stopped with work left"):
            await town.wait_for_idle()
        with pytest.raises(Refused, match="open tasks 2"):
            await town.run(administration.remove_agent(town.operations.keys, bea.id))
        await town.run(administration.remove_agent(town.operations.keys, bea.id, force=True))
        assert {task.id for task in await town.tasks(state="backlog")} == {running.id, waiting.id}
        await town.run(administration.remove_agent(town.operations.keys, ada.id))
        assert await town.agents() == ()


async def test_killing_softly_waits_for_the_rounds_end(town_dir, wait_for_file, wait_for_round_ends) -> None:
    town_dir.configure(SHELL)
    async with tinytown.open_town(town_dir.root) as town:
        agent = await town.spawn("ada")
        task = await agent.assign("touch begun; while [ ! -e go ]; do sleep 0.02; done; echo went")
        await wait_for_file(town_dir.root / "begun")
        await agent.kill()
        (town_dir.root / "go").touch()
        assert (await town.wait_for_task(task.id)).result == "went"
        await agent.wait_until(lambda agent: agent.state == "stopped")
        await agent.wait_for_idle()  # stopped without work left is at rest
        await agent.resume()
        await agent.wait_until(lambda agent: agent.state == "idle")


async def test_what_the_block_raises_comes_out_as_it_is(town_dir) -> None:
    town_dir.configure(ECHO)
    with pytest.raises(ZeroDivisionError):
        async with tinytown.open_town(town_dir.root):
            raise ZeroDivisionError
    two = ExceptionGroup("the caller's own", [ValueError(1), ValueError(2)])
    with pytest.raises(ExceptionGroup) as caught:
        async with tinytown.open_town(town_dir.root):
            raise two
    assert (caught.value.message, caught.value.exceptions) == (two.message, two.exceptions)
    with pytest.raises(KeyboardInterrupt):
        async with tinytown.open_town(town_dir.root):
            raise KeyboardInterrupt


async def test_what_the_town_refuses_comes_out_as_it_is(town_dir) -> None:
    town_dir.configure(ECHO)
    with pytest.raises(NotFound):
        async with tinytown.open_town(town_dir.root) as town:
            await town.agent("nobody")


async def test_without_a_town_or_with_a_broken_one_the_error_says_so(town_dir, tmp_path) -> None:
    with pytest.raises(NotFound, match="no town in"):
        async with tinytown.open_town(tmp_path):
            pass
    (town_dir.root / "tinytown.toml").write_text('name = "t"\ncolour = "red"\n')
    with pytest.raises(ConfigError, match="colour"):
        async with tinytown.open_town(town_dir.root):
            pass
    town_dir.configure(ECHO + "[plugins.imaginary]\nx = 1\n")
    with pytest.raises(PluginError, match="imaginary"):
        async with tinytown.open_town(town_dir.root):
            pass


async def test_a_second_kernel_is_refused_with_the_pid_of_the_first(town_dir) -> None:
    import os

    town_dir.configure(ECHO)
    async with tinytown.open_town(town_dir.root, kernel=True):
        with pytest.raises(
            Refused, match=f"the kernel of this town is already running \\(pid {os.getpid()}\\)"
        ) as caught:
            async with tinytown.open_town(town_dir.root, kernel=True):
                pass
        assert caught.value.code == "kernel_running"
    async with tinytown.open_town(town_dir.root, kernel=True):
        pass


async def test_without_saying_so_a_program_joins_the_kernel_that_runs(town_dir) -> None:
    town_dir.configure(ECHO)
    async with tinytown.open_town(town_dir.root) as first, tinytown.open_town(town_dir.root) as second:
        agent = await second.spawn("ada")
        await agent.assign("do it")
        await agent.wait_for_idle()
        assert len((await first.status()).hosts) == 1


async def test_many_programs_at_once_start_one_kernel_between_them(town_dir) -> None:
    town_dir.configure(ECHO)
    up, over = trio.Semaphore(0), trio.Event()

    async def use() -> None:
        async with tinytown.open_town(town_dir.root) as town:
            up.release()
            await over.wait()
            await town.status()

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(use)
        for _ in range(5):
            await up.acquire()
        async with tinytown.open_town(town_dir.root, kernel=False) as town:
            assert len((await town.status()).hosts) == 1
        over.set()


async def test_without_a_kernel_nothing_is_worked_on(town_dir) -> None:
    town_dir.configure(ECHO)
    async with tinytown.open_town(town_dir.root, kernel=False) as town:
        agent = await town.spawn("ada")
        task = await agent.assign("do it")
        assert (await town.status()).hosts == ()
        assert ((await agent.info()).state, (await town.task(task.id)).state) == ("starting", "assigned")
    async with tinytown.open_town(town_dir.root) as town:
        await town.wait_for_idle()
        assert (await town.task(task.id)).state == "completed"


async def test_a_town_is_found_from_a_directory_below_it(town_dir, monkeypatch) -> None:
    town_dir.configure(ECHO)
    below = town_dir.root / "src" / "deep"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    async with tinytown.open_town() as town:
        assert town.root == town_dir.root
        assert repr(await town.spawn("ada")) == "<AgentHandle ada>"


async def test_nobody_is_spawned_of_a_kind_that_no_kernel_has(town_dir) -> None:
    async with town_dir.open() as town:
        with pytest.raises(NotFound, match=r"unknown kind of agent 'ghost'; available kinds: .*echo") as caught:
            await town.spawn("ada", cli="ghost")
        assert caught.value.code == "unknown_kind"
        assert await town.agents() == ()


async def test_without_a_kernel_any_kind_may_be_spawned_for_the_one_that_comes(town_dir) -> None:
    async with town_dir.connect() as town:
        await town.spawn("ada", cli="ghost")
        assert [agent.cli for agent in await town.agents()] == ["ghost"]


async def test_the_program_on_the_front_page_does_what_it_says(town_dir) -> None:
    town_dir.configure(ECHO)
    (program,) = re.findall(r"^```python\n(.*?)^```", FRONT_PAGE.read_text(), re.MULTILINE | re.DOTALL)
    with trio.fail_after(30):
        done = await trio.run_process(
            [sys.executable, "-c", program], cwd=town_dir.root, capture_stdout=True, capture_stderr=True, check=False
        )
    assert (done.stdout, done.returncode) == (b"", 0), done.stderr
    assert b"Traceback" not in done.stderr
    assert EmbeddedServer(town_dir.state).ping()
    async with town_dir.connect() as town:
        form, interface, design = await town.tasks()
    assert [task.result for task in (design, interface, form)] == [
        "echo: Design the login page",
        "echo: Build the login API",
        "echo: Build the login form",
    ]
    assert design.completed_at <= min(interface.started_at, form.started_at)


async def test_one_that_will_never_be_idle_ends_the_wait_for_all(town_dir) -> None:
    async with town_dir.connect() as town:
        busy, done = await town.spawn("busy", cli="shell"), await town.spawn("done", cli="shell")
        await busy.assign("work")
        await done.assign("work")
        await town.run(town.operations.set_desired_state("done", "stopped"))
        with pytest.raises(WaitFailed, match="'done' will not become idle"):
            await town.wait_for_idle(busy, done)
