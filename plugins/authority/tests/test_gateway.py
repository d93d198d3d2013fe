"""What a round may do in its town, tried on a real server through the socket that it is given."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import trio
from tinytown.config import Permissions
from tinytown.errors import Refused, ServerUnreachable
from tinytown.model.events import event_fields
from tinytown.model.messages import Informational, TaskOrder
from tinytown.protocol import TOWN_LIBRARY, Operation, TownOperations
from tinytown.redis import parse_url
from tinytown_authority import gateway
from tinytown_authority.gateway import Gateway
from tinytown_authority.rights import TOWN_EVENTS
from tinytown_authority.rules import FUNCTIONS
from tinytown_authority.settings import Settings
from tinytown_cli import administration
from tinytown_cli.blocking_client import BlockingClient
from tinytown_testing.towns import TownDirectory

from .conftest import Round, open_round


def registered_functions() -> set[str]:
    return set(re.findall(r"^register(?:_once)?\('(\w+)'", TOWN_LIBRARY.source(), re.MULTILINE))


async def test_every_function_that_is_not_in_the_table_is_refused(town_dir: TownDirectory) -> None:
    assert FUNCTIONS.keys() <= registered_functions()
    async with open_round(town_dir) as round_:
        base = round_.operations.keys.base
        for name in sorted(registered_functions() - FUNCTIONS.keys()):
            operation = Operation(("FCALL", TOWN_LIBRARY.function(name), 1, base, "x", "y"), str)
            await round_.refused(operation)


@pytest.mark.parametrize(
    "words",
    [
        ("SET", "tt:{t}:x", "1"),
        ("FLUSHALL",),
        ("CONFIG", "GET", "*"),
        ("EVAL", "return 1", 0),
        ("FUNCTION", "LOAD", "REPLACE", "x"),
        ("ACL", "WHOAMI"),
        ("CLIENT", "KILL", "x"),
        ("KEYS", "*"),
        ("SUBSCRIBE", "x"),
        ("MULTI",),
        ("XREAD", "STREAMS", "tt:{other}:events", "0"),
        ("XREAD", "STREAMS", "tt:{t}:events", "tt:{t}:dead", "0", "0"),
        ("XRANGE", "tt:{other}:events", "-", "+"),
        ("HGETALL", "tt:{t}:agent:1"),
        ("INFO", "everything"),
        ("FCALL", "x"),
        ("FCALL",),
    ],
)
async def test_plain_commands_are_refused(town_dir: TownDirectory, words: tuple[Any, ...]) -> None:
    async with open_round(town_dir) as round_:
        if words[0] == "CLIENT":  # answered here, and never sent on
            assert await round_.command(*words) == b"OK"
            return
        with pytest.raises(Refused) as raised:
            await round_.command(*words)
        assert raised.value.code == "not_allowed"


async def test_a_function_of_another_town_is_refused(town_dir: TownDirectory) -> None:
    async with open_round(town_dir) as round_:
        await round_.refused(TownOperations("other").status())


async def test_it_sees_the_town_and_follows_its_events(town_dir: TownDirectory) -> None:
    async with open_round(town_dir) as round_:
        assert {agent.name for agent in await round_.run(round_.operations.agents())} == {"ada", "bob"}
        assert len(await round_.run(round_.operations.tasks())) == 3
        assert (await round_.run(round_.operations.status())).agents
        assert await round_.run(round_.operations.latest_events(1))
        assert await round_.run(round_.operations.wait_for_events("0", block_ms=10))


async def test_mail_is_sent_in_its_own_name_whatever_it_says(town_dir: TownDirectory) -> None:
    async with open_round(town_dir) as round_:
        for sender in ("supervisor", "bob", round_.bob.id):
            await round_.run(round_.operations.send("bob", Informational(summary="hello"), sender=sender))
        inbox = await round_.town.run(round_.operations.peek("bob"))
        mails = [mail.message for mail in inbox.messages if mail.message is not None]
        senders = {mail.sender for mail in mails if isinstance(mail.body, Informational)}
        assert senders == {"ada"}


async def test_it_reads_its_own_mail_only(town_dir: TownDirectory) -> None:
    async with open_round(town_dir) as round_:
        assert (await round_.run(round_.operations.peek("ada"))).messages
        assert (await round_.run(round_.operations.peek(round_.ada.id))).messages
        for other in ("bob", "supervisor", round_.bob.id, "b"):
            assert "mail" in await round_.refused(round_.operations.peek(other))
            assert "mail" in await round_.refused(administration.find_message(round_.operations, other, "x"))


@pytest.mark.parametrize("verb", ["complete", "submit", "fail", "cancel"])
@pytest.mark.parametrize("owner", ["bob", "free"])
async def test_it_settles_no_other_task_even_as_its_owner_or_a_person(
    town_dir: TownDirectory, verb: Any, owner: str
) -> None:
    async with open_round(town_dir) as round_:
        before = await round_.state(owner)
        for by in ("", round_.bob.id, round_.ada.id):
            await round_.refused(
                round_.operations.settle_task(verb, round_.tasks[owner].id, by=by, token="1", text="done")
            )
        assert await round_.state(owner) == before


async def test_it_settles_all_of_its_tasks_and_no_other(town_dir: TownDirectory) -> None:
    async with town_dir.connect() as town:
        operations = town.operations
        ada = await town.run(operations.create_agent("ada", cli="shell"))
        await town.run(operations.register_host("h", lease_ms=60_000, details={"name": "h"}))
        fence = (await town.run(operations.place_agents("h", ["shell"], count=1))).agents[0].token or ""
        names = ("one", "two", "three")
        for name in names:
            await town.add_task(name, agent="ada", task_id=name)
        started = [await town.run(operations.start_task(ada.id, fence, name, "r")) for name in names[:2]]
        tasks = [each.task for each in started if each.task]
        async with Gateway(Settings()).open(town, ada, tasks, lambda _: "write") as url:
            round_ = Round(town, url, ada, ada, {task.id: task for task in tasks}, {})
            assert (await round_.run(operations.settle_task("submit", "two", text="done"))).state == "completed"
            assert "none of its round" in await round_.refused(operations.settle_task("submit", "three", text="done"))
            await round_.run(administration.set_task_meta(operations.keys, "one", "beads", {"x": 1}))
            await round_.refused(administration.set_task_meta(operations.keys, "three", "beads", {"x": 1}))
            assert (await round_.run(operations.settle_task("fail", "one", text="no"))).state == "failed"


async def test_it_takes_no_work_from_others(town_dir: TownDirectory) -> None:
    async with open_round(town_dir) as round_:
        await round_.refused(round_.operations.assign_task(round_.tasks["bob"].id, "ada"))
        await round_.refused(
            administration.update_task(round_.operations, round_.tasks["bob"].id, description="nothing")
        )
        await round_.refused(administration.hold_task(round_.operations.keys, round_.tasks["bob"].id, reason="because"))
        await round_.refused(administration.requeue_task(round_.operations.keys, round_.tasks["bob"].id))
        await round_.refused(administration.reopen_task(round_.operations.keys, round_.tasks["ada"].id))
        assert await round_.state("bob") == "assigned"


async def test_it_adds_and_assigns_what_nobody_has(town_dir: TownDirectory) -> None:
    async with open_round(town_dir) as round_:
        added = await round_.run(round_.operations.add_task("more"))
        assert added.task.state == "pending"
        await round_.run(administration.update_task(round_.operations, added.task.id, description="more of it"))
        await round_.run(round_.operations.assign_task(round_.tasks["free"].id, "bob"))
        assert await round_.state("free") == "assigned"


async def test_it_does_not_administer(town_dir: TownDirectory) -> None:
    async with open_round(town_dir, spawn=("shell",)) as round_:
        operations = round_.operations
        for operation in (
            operations.create_agent("eve", cli="shell"),
            operations.set_desired_state("bob", "stopped"),
            administration.remove_agent(operations.keys, "bob", force=True),
            administration.freeze(operations.keys, reason="x"),
            operations.set_budgets({}),
            operations.setup({"max_agents": 1}),
            operations.set_plugin_field("journal", "x", 1),
        ):
            await round_.refused(operation)


async def test_a_conductor_reassigns_reopens_cancels_and_spawns_what_is_listed(town_dir: TownDirectory) -> None:
    async with open_round(town_dir, conducts=True, spawn=("shell",)) as round_:
        operations = round_.operations
        await round_.run(operations.assign_task(round_.tasks["bob"].id, "ada"))
        await round_.run(operations.create_agent("eve", cli="shell"))
        await round_.refused(operations.create_agent("mallory", cli="claude"))
        await round_.run(operations.settle_task("cancel", round_.tasks["free"].id, text="not wanted"))
        assert await round_.state("free") == "cancelled"
        for operation in (
            operations.settle_task("complete", round_.tasks["bob"].id, text="x"),
            administration.remove_agent(operations.keys, "bob", force=True),
            administration.freeze(operations.keys, reason="x"),
        ):
            await round_.refused(operation)


@pytest.mark.parametrize("permissions", ["read", "write"])
async def test_a_confined_agent_gives_no_work_to_one_that_may_do_more(
    town_dir: TownDirectory, permissions: Permissions
) -> None:
    async with open_round(town_dir, permissions=permissions) as round_:
        operations = round_.operations
        await round_.refused(operations.assign_task(round_.tasks["free"].id, "bob"))
        await round_.refused(operations.add_task("cp secret /outside", agent="bob"))
        await round_.refused(operations.send("bob", TaskOrder(description="cp secret /outside")))
        await round_.refused(administration.update_task(operations, round_.tasks["free"].id, description="cp secret"))
        await round_.refused(administration.release_task(operations.keys, round_.tasks["free"].id))
        await round_.run(operations.send("bob", Informational(summary="hello")))
        await round_.run(operations.send("supervisor", TaskOrder(description="look at this")))
        await round_.run(operations.assign_task(round_.tasks["free"].id, "ada"))
        held = (await round_.run(operations.add_task("cp secret /outside", held="later"))).task
        assert held.state == "blocked"
        assert "release it to allow it" in held.reason
        await round_.refused(administration.release_task(operations.keys, held.id))


async def test_the_plugins_data_that_is_listed_may_be_changed(town_dir: TownDirectory) -> None:
    async with open_round(town_dir, plugin_data=("beads",)) as round_:
        await round_.run(round_.operations.set_plugin_field("beads", "x", 1))
        assert await round_.run(round_.operations.plugin_field("beads", "x")) == 1
        await round_.refused(round_.operations.set_plugin_field("gastown", "x", 1))


async def test_it_reports_events_of_plugins_in_its_own_name_and_none_of_the_town(town_dir: TownDirectory) -> None:
    async with open_round(town_dir) as round_:
        await round_.run(round_.operations.emit("escalated", {"agent": "bob", "text": "help"}))
        (event,) = await round_.town.run(round_.operations.latest_events(1))
        assert event_fields(event) | {"agent": "ada", "text": "help"} == event_fields(event)
        assert {"task_state_changed", "plugin_reported", "agent_removed"} <= TOWN_EVENTS
        for type_ in sorted(TOWN_EVENTS):
            await round_.refused(round_.operations.emit(type_, {"agent": "bob"}))


async def test_requests_that_arrive_together_are_answered_in_their_order(town_dir: TownDirectory) -> None:
    async with open_round(town_dir) as round_:
        operations = round_.operations

        def ask() -> list[Any]:
            with BlockingClient(parse_url(round_.url)) as client:
                wanted = [
                    operations.agents(),
                    administration.freeze(operations.keys, reason="x"),
                    operations.tasks(),
                    operations.agents(),
                ]
                return client.run_all(wanted * 20)

        answers = await trio.to_thread.run_sync(ask)
        assert [type(answer) for answer in answers] == [tuple, Refused, tuple, tuple] * 20
        assert [len(answer) for answer in answers if isinstance(answer, tuple)] == [2, 3, 2] * 20


async def test_without_its_token_nothing_is_answered(town_dir: TownDirectory) -> None:
    async with open_round(town_dir) as round_:
        wrong = re.sub(r":[^:@]+@", ":wrong@", round_.url)
        for url in (wrong, re.sub(r"//[^@]+@", "//", round_.url)):

            def ask(url: str = url) -> None:
                with BlockingClient(parse_url(url)) as client:
                    client.command("PING")

            with pytest.raises(ServerUnreachable):
                await trio.to_thread.run_sync(ask)


async def test_the_socket_is_private_and_ends_with_the_round(town_dir: TownDirectory) -> None:
    async with open_round(town_dir) as round_:
        path = Path(parse_url(round_.url).path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent == town_dir.state / "rounds"
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == []


async def test_what_a_killed_kernel_left_is_removed_by_the_next(town_dir: TownDirectory) -> None:
    async with open_round(town_dir):
        left = town_dir.state / "rounds" / "left"
        left.touch()
    async with town_dir.connect() as town:
        ada = await town.run(town.operations.agent("ada"))
        async with Gateway(Settings()).open(town, ada, None, lambda _: "full") as url:
            assert not left.exists()
            assert Path(parse_url(url).path).exists()


async def test_a_state_with_a_long_path_has_its_sockets_elsewhere(
    town_dir: TownDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "_DIRECTORY_BYTES", 10)
    async with open_round(town_dir) as round_:
        path = Path(parse_url(round_.url).path)
        assert path.parent.name.startswith("tt-round-")
        assert await round_.run(round_.operations.agents())
    assert not path.parent.exists()


def raw(url: str, request: bytes) -> bytes:
    """What the socket answers to these bytes before it hangs up or falls silent."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2)
        connection.connect(unquote(parse_url(url).path))
        answer = b""
        try:
            connection.sendall(request)
            while data := connection.recv(65536):
                answer += data
        except (TimeoutError, ConnectionError):
            pass
        return answer


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        b"\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"*1\r\n*1\r\n$4\r\nPING\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"\xff" * 100,
        b":5\r\n",
    ],
)
async def test_hostile_bytes_do_no_harm(town_dir: TownDirectory, request_bytes: bytes) -> None:
    async with open_round(town_dir) as round_:
        answer = await trio.to_thread.run_sync(raw, round_.url, request_bytes)
        assert b"+PONG" not in answer
        assert await round_.run(round_.operations.agents())


async def test_a_request_without_end_is_cut_off(town_dir: TownDirectory) -> None:
    async with open_round(town_dir) as round_:
        size = 2 * round_.town.config.limits.message_bytes + (1 << 20)
        answer = await trio.to_thread.run_sync(raw, round_.url, b"*2\r\n$%d\r\n" % (1 << 30) + b"x" * size)
        assert answer in (b"-ERR the request is too large\r\n", b"")
        assert await round_.run(round_.operations.agents())


async def test_no_secret_of_the_kernel_gets_into_the_town_through_a_round(
    town_dir: TownDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "known-value-42")
    town_dir.configure('[plugins.notify.targets.team]\nauth_token = "of-the-settings-7"\n')
    text = "the key is known-value-42 and of-the-settings-7"
    async with open_round(town_dir, conducts=True) as round_:
        operations, town = round_.operations, round_.town
        await round_.run(operations.send("bob", Informational(summary=text), sender="ada"))
        await round_.run(operations.emit("made_up", {"text": text}))
        added = (await round_.run(operations.add_task(text, title=text))).task
        await round_.run(operations.settle_task("cancel", round_.tasks["free"].id, text=text))
        kept = [repr(await town.run(operations.peek("bob"))), repr(await town.task(added.id)), repr(await town.tasks())]
        kept += [repr(event_fields(event)) for event in await town.run(operations.latest_events(50))]
    assert not [each for each in kept if "known-value-42" in each or "of-the-settings-7" in each]
    assert sum("the key is *** and ***" in each for each in kept) >= 3
