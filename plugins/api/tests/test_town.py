"""Every method that `tinytown_api.Town` and `AgentHandle` add, on a real town; and its three ways in."""

from __future__ import annotations

from pathlib import Path

import pytest
import tinytown
import trio
from tinytown.contracts import Finished
from tinytown.errors import ConfigError, NotFound, Refused, UsageError
from tinytown.kernel import running_kernel
from tinytown.model.messages import Informational
from tinytown_api import NoAnswer, Town
from tinytown_api.town import NewTask
from tinytown_cli.town_registry import read_registry
from tinytown_server.server import EmbeddedServer
from tinytown_testing.scripted_backend import answers

pytestmark = pytest.mark.usefixtures("deadline")

ECHO = 'default_cli = "echo"\n'


@pytest.fixture
async def town(town_dir):
    town_dir.configure(ECHO)
    async with Town.connect(town_dir.root) as town:
        yield town


# -- create, connect, open


async def test_a_new_town_is_made_registered_and_connected_without_a_kernel(
    town_dir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYTOWN_HOME", str(tmp_path / "home"))
    root = town_dir.root / "shop"
    with pytest.raises(Refused, match="inside the town"):
        async with Town.create(root, "shop"):
            pass
    try:
        async with Town.create(root, "shop", cli="echo", inside=True) as town:
            assert (town.name, town.config.default_cli, town.root) == ("shop", "echo", root)
            assert running_kernel(root) is None
            assert (await town.status()).hosts == ()
            assert [each.name for each in read_registry()] == ["shop"]
            with pytest.raises(Refused, match="already has a"):
                async with Town.create(root):
                    pass
    finally:
        from tinytown.state import state_directory

        EmbeddedServer(state_directory(root)).stop(timeout_s=5)


async def test_connecting_never_runs_a_kernel_and_opening_runs_one_unless_it_runs(town_dir) -> None:
    town_dir.configure(ECHO)
    async with Town.connect(town_dir.root) as connected:
        task = await connected.add_task("hello", agent=(await connected.spawn("ada")).id)
        assert running_kernel(town_dir.root) is None
        async with Town.open(town_dir.root) as opened:
            assert running_kernel(town_dir.root) is not None
            assert (await connected.wait_for_task(task.id)).result == "echo: hello"
            async with Town.open(town_dir.root) as again:
                assert len((await again.status()).hosts) == 1
            with pytest.raises(Refused):
                async with Town.open(town_dir.root, kernel=True):
                    pass
            assert opened.name == connected.name


async def test_a_town_of_the_core_gets_the_methods_and_stays_one_town(town_dir) -> None:
    async with tinytown.open_town(town_dir.root, kernel=False) as core:
        town, seen = Town.of(core), []
        with core.subscribe(seen.append):
            await town.spawn("ada", cli="echo")
            await town.wait_until(trio.lowlevel.checkpoint, lambda _: bool(seen))
        assert town.position is core.position
        assert (await Town.of(core).agent("ada")).name == "ada"


# -- tasks


async def test_tasks_move_between_backlog_and_agents(town: Town) -> None:
    ada, bob = await town.spawn("ada"), await town.spawn("bob")
    first, second = await town.add_task("first", tags=["db"]), await town.add_task("second")
    assert (await ada.claim(first.id)).assigned_to == "ada"
    with pytest.raises(Refused):
        await bob.claim(first.id)
    assert (await bob.take_over(first.id)).assigned_to == "bob"
    assert (await town.requeue_task(first.id, reason="bob is busy")).state == "pending"
    assert set(await ada.assign_backlog()) == {first.id, second.id}
    assert (await ada.current_task()) is None  # two are open and none is in progress
    reclaimed = await ada.reclaim(tasks_to="bob")
    assert set(reclaimed.tasks) == {first.id, second.id}
    assert {task.id for task in await town.tasks(agent="bob")} == {first.id, second.id}


async def test_tasks_are_edited_linked_and_deleted(town: Town) -> None:
    first, second = await town.add_task("first"), await town.add_task("second")
    changed = await town.update_task(first.id, description="first of all", priority="high", tags=["db"])
    assert (changed.description, changed.priority, changed.tags) == ("first of all", "high", ("db",))
    with pytest.raises(TypeError, match=r"Town.update_task\(\) got an unexpected keyword argument 'titel'"):
        await town.update_task(first.id, titel="x")  # type: ignore[call-arg]
    assert (await town.add_need(second.id, first.id)).state == "blocked"
    with pytest.raises(Refused, match="cycle"):
        await town.add_need(first.id, second.id)
    await town.delete_task(second.id)
    assert [task.id for task in await town.tasks()] == [first.id]


# -- mail


async def test_mail_is_removed_moved_and_traced(town: Town) -> None:
    ada = await town.spawn("ada")
    await town.spawn("bob")
    sent = await ada.send(Informational(summary="for you"))
    order = await ada.send("an order in free text")
    assert set((await ada.reclaim(mail_to="bob")).messages) == {order.message_id, sent.message_id}
    assert {message.id for message in await town.inbox("bob")} == {sent.message_id, order.message_id}
    assert set(await town.remove_mail("bob", sent.message_id)) == {sent.message_id}
    assert [line.what for line in await town.trace(sent.message_id)][-1] == "removed"
    assert (await town.reclaim("bob", mail_to="")).made == (order.message_id,)
    assert await ada.remove_mail() == ()
    await town.send("supervisor", "note")
    assert len(await town.remove_mail()) == 1
    assert await town.drop() == ()
    assert await town.redrive() == ()


# -- questions


async def test_a_question_gets_the_answer_and_leaves_no_mail(town_dir) -> None:
    town_dir.configure(ECHO)
    async with Town.open(town_dir.root) as town:
        ada = await town.spawn("ada")
        reply = await ada.ask("which port?")
        assert (reply.text, reply.sender, reply.type) == ("echo: which port?", "ada", "informational")
        assert await town.inbox() == ()
        assert [record.outcome for record in await ada.rounds()] == ["finished"]


async def test_answers_find_who_asked_also_beside_a_reader_of_the_mailbox(town_dir) -> None:
    town_dir.configure(ECHO)
    async with Town.open(town_dir.root) as town:
        await town.spawn("ada")
        answers, others = dict[str, str](), list[str]()

        async def ask(question: str) -> None:
            answers[question] = (await town.ask("ada", question)).text

        async def read(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            async with town.open_mailbox() as mailbox:
                task_status.started()
                while True:
                    async with await mailbox.receive() as letter:
                        others.append(letter.text)

        async with trio.open_nursery() as reading:
            await reading.start(read)
            async with trio.open_nursery() as asking:
                for question in ("one?", "two?", "three?"):
                    asking.start_soon(ask, question)
                await town.send("supervisor", Informational(summary="news"))
            await town.wait_until(trio.lowlevel.checkpoint, lambda _: others == ["news"])
            reading.cancel_scope.cancel()
        # A round that was there for several questions answers them with one text.
        assert [each for each in ("one?", "two?", "three?") if each not in answers[each]] == []


async def test_a_question_that_nobody_will_answer_is_an_error(town: Town) -> None:
    ada = await town.spawn("ada")
    await ada.kill()
    with pytest.raises(Refused):  # a stopped agent takes no mail
        await ada.ask("are you there?")
    bob = await town.spawn("bob")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop_when_asked, town, "bob")
        with pytest.raises(NoAnswer, match="agent 'bob' will not answer: it is stopped"):
            await bob.ask("are you there?")


async def stop_when_asked(town: Town, name: str) -> None:
    await town.wait_until(lambda: town.inbox(name), bool)
    await (await town.agent(name)).kill()


async def test_a_question_that_nobody_waits_for_any_more_stays_asked(town: Town) -> None:
    ada = await town.spawn("ada")  # no kernel runs here
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ada.ask, "are you there?")
        await town.wait_until(ada.inbox, bool)
        nursery.cancel_scope.cancel()
    assert [message.text for message in await ada.inbox()] == ["are you there?"]


# -- settings


async def test_settings_are_checked_written_and_read_anew(town: Town) -> None:
    path = town.root / "tinytown.toml"
    path.write_text(path.read_text().replace("[round]", "# how rounds run\n[round]"))
    assert await town.configure("round.timeout_s", 1800)
    assert not await town.configure("round.timeout_s", 1800)
    assert town.config.round.timeout_s == 1800
    assert "# how rounds run\n[round]" in path.read_text()
    assert await town.configure("round.timeout_s", None)
    before = path.read_text()
    for key, value, error in (
        ("round.timeout_s", "soon", ConfigError),
        ("round.tiemout_s", 5, ConfigError),
        ("name", "other", Refused),
        ("default_cli", "nobody", NotFound),
        ("round.timeout_s", None, NotFound),
        ("", 1, UsageError),
    ):
        with pytest.raises(error):
            await town.configure(key, value)
    assert path.read_text() == before


async def test_the_settings_of_the_user_are_written_too(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYTOWN_HOME", str(tmp_path))
    assert await town.configure("default_cli", "echo", user=True)
    assert 'default_cli = "echo"' in (tmp_path / "config.toml").read_text()


async def test_an_agent_may_not_write_settings(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYTOWN_TOWN", str(town.root))
    monkeypatch.setenv("TINYTOWN_AGENT_ID", "00000000-0000-0000-0000-000000000009")
    monkeypatch.setenv("TINYTOWN_AGENT_NAME", "ada")
    with pytest.raises(Refused, match="may not change settings"):
        await town.configure("round.timeout_s", 1800)


# -- many tasks at once


async def test_a_task_starts_from_a_copy_of_the_session_that_another_agent_has(town_dir, scripted_backend) -> None:
    scripted_backend.script = answers(Finished(text="designed", session_id="s1"), Finished(text="built"))
    async with town_dir.open() as core:
        town = Town.of(core)
        ada, ben = await town.spawn("ada"), await town.spawn("ben")
        with pytest.raises(Refused, match="ada has no session"):
            await ada.fork_session()
        await town.wait_for_task((await ada.assign("design it")).id)
        await ada.wait_for_idle()
        task = await ben.assign("build it", meta=await ada.fork_session())
        assert task.meta == {"fork": {"agent": "ada", "session_id": "s1"}}
        assert (await town.wait_for_task(task.id)).result == "built"


async def test_many_tasks_are_assigned_in_one_pipeline_and_once(town_dir) -> None:
    async with Town.connect(town_dir.root) as town:
        await town.spawn("ada", cli="shell")
        tasks: list[NewTask] = [
            {"description": "first", "agent": "ada", "task_id": "one"},
            {"description": "then", "agent": "ada", "task_id": "two", "needs": ["one"], "tags": ["docs"]},
            {"description": "whoever"},
        ]
        made = await town.assign_all(tasks)
        assert [(task.id, task.state, task.assigned_to) for task in made[:2]] == [
            ("one", "assigned", "ada"),
            ("two", "blocked", "ada"),
        ]
        assert (made[2].state, made[2].assigned_to) == ("pending", None)
        assert await town.assign_all(tasks[:2]) == made[:2]
        with pytest.raises(NotFound, match="nobody"):
            await town.assign_all([{"description": "x", "agent": "nobody"}, {"description": "y"}])
        with pytest.raises(TypeError, match="titel"):
            await town.assign_all([{"description": "x", "titel": "y"}])  # type: ignore[typeddict-unknown-key]
        assert await town.assign_all([]) == ()


async def test_many_tasks_are_assigned_although_the_functions_are_lost(town_dir) -> None:
    async with Town.connect(town_dir.root) as town:
        await town.link.command("FUNCTION", "FLUSH")
        made = await town.assign_all([{"description": f"task {number}"} for number in range(3)])
        assert [task.description for task in made] == ["task 0", "task 1", "task 2"]
