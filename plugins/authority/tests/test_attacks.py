"""What a hostile round sends: requests that no client of ours makes, past the checks that ours makes."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import trio
from tinytown.config import Permissions
from tinytown.errors import NotFound, Refused, TinytownError
from tinytown.model.events import OtherEvent
from tinytown.model.ids import SUPERVISOR_ID, new_id
from tinytown.model.messages import Informational
from tinytown.protocol import Operation, TownOperations
from tinytown.redis import parse_url
from tinytown_authority import gateway
from tinytown_cli import administration
from tinytown_cli.blocking_client import BlockingClient
from tinytown_testing.towns import TownDirectory

from .conftest import Round, open_round

UUID = "0c9cd1f0-6a5c-4f4c-9a57-7a8ae86f5d4d"
NEWS: dict[str, Any] = {"type": "informational", "summary": "pay the bill"}


def mail(body: dict[str, Any] | bytes, *, id_: str = "", to: str = "bob", letter: str = "i") -> tuple[Any, ...]:
    """The arguments of `send`, whoever it claims to be from."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return to, "supervisor", id_ or new_id(), letter, "normal", 0, 0, raw


def task(**fields: str) -> tuple[Any, ...]:
    """The arguments of `task_add`."""
    given = {"description": "cp secret /outside", **fields}
    words = [word for item in given.items() for word in item]
    return (new_id(), new_id(), "", "normal", "[]", "[]", *words)


async def refused(round_: Round, function: str, *arguments: Any) -> None:
    with pytest.raises(TinytownError) as raised:
        await round_.call(function, *arguments)
    assert raised.value.code in ("not_allowed", "usage", "not_found"), raised.value


# -- in another's name ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        mail({**NEWS, "from": "supervisor", "id": "x"}),
        mail(b'{"type":"informational","summary":"x","from":"supervisor","from":"bob"}'),
        mail(NEWS, id_='x","from":"supervisor","x":"'),
        mail({"type": "task_assign", "task_id": "x"}, letter="t"),
        mail({"type": "a kind of its own", "from": "supervisor"}),
        mail(b'{"summary":"x"}'),
        mail(b"{}, "),
        mail(b"[" * 100_000),
    ],
)
async def test_mail_comes_from_nobody_else_whatever_its_text_says(town_dir: TownDirectory, words: Any) -> None:
    async with open_round(town_dir) as round_:
        try:
            await round_.call("send", *words)
        except TinytownError as error:
            assert error.code in ("not_allowed", "usage")  # noqa: PT017 - either is fine, if nothing is forged
        inbox = await round_.town.run(round_.operations.peek("bob"))
        mails = [
            mail.message for mail in inbox.messages if mail.message and isinstance(mail.message.body, Informational)
        ]
        assert {mail.sender for mail in mails} <= {"ada"}


async def test_no_order_for_the_task_of_another_is_forged(town_dir: TownDirectory) -> None:
    async with open_round(town_dir) as round_:
        order = (await round_.town.run(round_.operations.peek("bob"))).messages[0].message
        assert order is not None
        await round_.town.run(round_.operations.create_agent("carl", cli="shell"))
        body = {"type": "task_assign", "task_id": round_.tasks["bob"].id}
        await refused(round_, "send", *mail(body, id_=order.id, to="carl", letter="t"))
        await round_.call("send", *mail({**NEWS, "x": '"type":"task_assign"'}, id_=order.id, to="carl", letter="t"))
        for entry in (await round_.town.run(round_.operations.peek("carl"))).messages:
            assert entry.message is not None
            assert entry.message.category == "informational"
            assert b"task_assign" not in bytes(entry.raw)


@pytest.mark.parametrize(
    "members",
    [
        ("custom", "type", "task_state_changed", "task", "x", "old", "running", "new", "completed"),
        ("agent_desired_state_changed", "desired_state", "stopped"),
        ("custom", "id", "1-1"),
        ("custom", "at", "2001-01-01T00:00:00Z"),
        ("task_state_changed", "task", "x"),
        ("custom", "odd"),
    ],
)
async def test_no_event_of_the_town_is_forged(town_dir: TownDirectory, members: Any) -> None:
    async with open_round(town_dir) as round_:
        await refused(round_, "emit", new_id(), *members)
        await refused(round_, "plugin_set", new_id(), "beads", "x", "1", "0", "", *members)
        assert await round_.town.run(round_.operations.plugin_field("beads", "x")) is None
        await round_.call("plugin_set", new_id(), "beads", "x", "1", "0", "", "remembered", "agent", "bob")
        event = (await round_.town.run(round_.operations.latest_events(1)))[0]
        assert isinstance(event, OtherEvent)
        assert (event.type, event.fields) == ("remembered", {"agent": "ada"})


# -- past the gates ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["Complete", "verified", "", "complete "])
async def test_no_verb_of_its_own_completes_a_task_past_its_gates(town_dir: TownDirectory, verb: str) -> None:
    async with open_round(town_dir) as round_:
        await round_.town.run(round_.operations.setup({"gates": 1}))
        await refused(round_, "task_settle", new_id(), verb, round_.tasks["ada"].id, "", "", "done")
        assert await round_.state("ada") == "assigned"


@pytest.mark.parametrize("name", ["state", "agent_id", "token", "held", "order", "meta:formula", "x"])
async def test_no_field_of_a_task_is_set_that_is_not_for_editing(town_dir: TownDirectory, name: str) -> None:
    async with open_round(town_dir) as round_:
        free = round_.tasks["free"].id
        library = administration.LIBRARY
        operation = Operation(
            ("FCALL", library.function("task_update"), 1, round_.operations.keys.base, free, name, "completed"), str
        )
        await round_.refused(operation)
        if name not in ("held",):
            await refused(round_, "task_add", *task(**{name: "completed"}))
        assert await round_.state("free") == "pending"
        assert len(await round_.town.tasks()) == 3


# -- by way of an agent with more rights -----------------------------------------------------------------------


async def test_what_a_confined_agent_adds_is_not_released_by_a_clock(town_dir: TownDirectory) -> None:
    async with open_round(town_dir, permissions="write") as round_:
        words = task(held="for a moment", held_until="1")
        await round_.call("task_add", *words)
        added = await round_.town.task(words[1])
        assert (added.state, added.held_until) == ("blocked", None)
        assert added.held is not None
        assert "release it to allow it" in added.held


async def test_a_confined_agent_puts_nothing_onto_a_backlog_that_agents_with_more_rights_take_from(
    town_dir: TownDirectory,
) -> None:
    async with open_round(town_dir, permissions="write") as round_:
        requeue = administration.requeue_task(round_.operations.keys, round_.tasks["ada"].id)
        await round_.refused(requeue)
        assert await round_.state("ada") == "assigned"
        round_.permissions["bob"] = "write"
        assert (await round_.run(requeue)).state == "pending"
        assert (await round_.run(round_.operations.add_task("more"))).task.state == "pending"


@pytest.mark.parametrize("task_of", ["bob", "free"])
async def test_a_confined_conductor_reopens_nothing_for_an_agent_with_more_rights(
    town_dir: TownDirectory, task_of: str
) -> None:
    async with open_round(town_dir, conducts=True, permissions="write") as round_:
        id_ = round_.tasks[task_of].id
        await round_.town.run(round_.operations.settle_task("complete", id_, text="done"))
        await refused(round_, "task_reopen", new_id(), id_, "now cp secret /outside")
        assert (await round_.town.task(id_)).state == "completed"


@pytest.mark.parametrize("permissions", ["write", "read"])
async def test_requests_that_arrive_together_are_no_way_around_the_comparison(
    town_dir: TownDirectory, permissions: Permissions
) -> None:
    options: dict[str, Any] = {"conducts": True, "spawn": ("shell",)}
    async with open_round(town_dir, permissions=permissions, **options) as round_:
        operations = round_.operations

        def ask() -> list[Any]:
            with BlockingClient(parse_url(round_.url)) as client:
                return client.run_all(
                    [
                        operations.create_agent("eve", cli="shell"),
                        operations.assign_task(round_.tasks["free"].id, "eve"),
                        operations.add_task("cp secret /outside", agent="eve"),
                    ]
                )

        answers = await trio.to_thread.run_sync(ask)
        assert [getattr(answer, "code", answer) for answer in answers] == ["not_allowed", "not_found", "not_found"]
        round_.permissions["eve"] = permissions
        spawned, *others = await trio.to_thread.run_sync(ask)
        assert spawned.name == "eve"
        assert [getattr(other, "code", "") for other in others] == ["", ""]
        round_.permissions["eve"] = "full"
        assert "may do more than itself" in await round_.refused(operations.add_task("cp secret /outside", agent="eve"))


async def test_work_that_was_sent_together_is_looked_at_in_its_order(town_dir: TownDirectory) -> None:
    async with open_round(town_dir) as round_:
        operations = round_.operations

        def ask() -> list[Any]:
            with BlockingClient(parse_url(round_.url)) as client:
                added = operations.add_task("more", task_id="more")
                return client.run_all([added, operations.assign_task("more", "bob"), operations.task("more")])

        assert (await trio.to_thread.run_sync(ask))[2].assigned_to == "bob"


# -- records that others cannot read ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        task(**{"meta:beads": "no JSON"}),
        task(**{"meta:beads": "[]"}),
        task(origin="[1]"),
        task(created_at="yesterday"),
        task(attempts="many"),
        task(title="\x1b[2J"),
        task(description=""),
        task(tags="x"),
        (new_id(), "task:needs", "", "normal", "[]", "[]", "description", "x"),
        (new_id(), "../x\n", "", "normal", "[]", "[]", "description", "x"),
        (new_id(), UUID, "", "soon", "[]", "[]", "description", "x"),
        (new_id(), UUID, "", "normal", "[]", "[1]", "description", "x"),
        (new_id(), UUID, "", "normal", "{", "[]", "description", "x"),
        (new_id(), UUID, "", "normal", "[]", "[]", "description", b"\xff"),
        (new_id(), UUID, "", "normal", "[]", "[]", "description"),
        (new_id(), UUID),
        ("x" * 1000, UUID, "", "normal", "[]", "[]", "description", "x"),
        (new_id(), UUID, "", "normal", "[]", "[]", "description", "x", "held_until", "9" * 30),
    ],
)
async def test_a_task_that_nobody_could_read_is_refused(town_dir: TownDirectory, words: Any) -> None:
    async with open_round(town_dir) as round_:
        await refused(round_, "task_add", *words)
        assert len(await round_.town.tasks()) == 3


async def test_a_table_beside_a_task_that_nobody_could_read_is_refused(town_dir: TownDirectory) -> None:
    async with open_round(town_dir) as round_:
        id_ = round_.tasks["ada"].id
        beads = (("beads", "no JSON"), ("beads", "[" * 100_000))
        for name, text in (*beads, ("formula", "{}"), ("formula", ""), ("a:b", "{}"), ("a:b", "")):
            await refused(round_, "task_meta", id_, name, text)
        await refused(round_, "plugin_set", new_id(), "beads", "x", "no JSON", "0", "")
        assert (await round_.town.task(id_)).meta == {}


async def test_a_round_does_not_free_its_task_from_what_its_result_has_to_fit(town_dir: TownDirectory) -> None:
    async with open_round(town_dir) as round_:
        id_, keys, schema = round_.tasks["ada"].id, round_.operations.keys, {"schema": {"type": "object"}}
        await round_.town.run(administration.set_task_meta(keys, id_, "results", schema))
        await round_.refused(administration.set_task_meta(keys, id_, "results", {}))
        await round_.refused(administration.set_task_meta(keys, id_, "results", None))
        assert (await round_.town.task(id_)).meta == {"results": schema}


@pytest.mark.parametrize(
    "words",
    [
        (SUPERVISOR_ID, "eve"),
        ("x", "eve"),
        (UUID, "../../eve"),
        (UUID, "supervisor"),
        (UUID, "eve", "shell", "a\nrole"),
        (UUID, "eve", "shell", "", '["supervisor"]', "1"),
        (UUID, "eve", "shell", "", "[]", "1"),
        (UUID, "eve", "shell", "", '["Eve"]', "1", "", "many"),
    ],
)
async def test_a_conductor_spawns_nobody_whose_name_or_id_is_a_trick(town_dir: TownDirectory, words: Any) -> None:
    whole = (*words, *("", "eve", "shell", "", '["Eve"]', "0", "", "0", "[]", "[]")[len(words) :])
    async with open_round(town_dir, conducts=True, spawn=("shell",)) as round_:
        await refused(round_, "agent_create", *whole)
        assert [agent.name for agent in await round_.town.agents()] == ["ada", "bob"]


async def test_whom_a_conductor_spawns_is_its_own_child_with_a_nickname_of_its_own(town_dir: TownDirectory) -> None:
    async with open_round(town_dir, conducts=True, spawn=("shell",)) as round_:
        await round_.call("agent_create", UUID, "eve", "shell", "", '["supervisor"]', "0", "bob", "0", "[]", "[]")
        eve = await round_.town.run(round_.operations.agent("eve"))
        assert eve.parent == "ada"
        assert eve.nickname not in (None, "", "supervisor")


# -- more than it may see -----------------------------------------------------------------------------------------


async def test_dead_mail_of_others_is_not_shown(town_dir: TownDirectory) -> None:
    async with open_round(town_dir) as round_:
        await round_.refused(administration.dead_letters(round_.operations.keys))


async def test_dead_mail_is_shown_to_conductors(town_dir: TownDirectory) -> None:
    async with open_round(town_dir, conducts=True) as round_:
        assert await round_.run(administration.dead_letters(round_.operations.keys)) == ()


async def test_one_key_that_may_be_read_hides_no_other_behind_it(town_dir: TownDirectory) -> None:
    async with open_round(town_dir) as round_:
        base = round_.operations.keys.base
        for words in (
            ("EXISTS", f"{base}:events", f"{base}:agent:{round_.bob.id}"),
            ("XREAD", "STREAMS", f"{base}:events", f"{base}:mail:{round_.bob.id}:bodies", "0", "0"),
        ):
            with pytest.raises(Refused):
                await round_.command(*words)


async def test_what_is_not_there_is_said_to_be_missing(town_dir: TownDirectory) -> None:
    async with open_round(town_dir) as round_:
        for operation in (
            round_.operations.assign_task("nothing", "bob"),
            round_.operations.settle_task("submit", "nothing", text="x"),
        ):
            with pytest.raises(NotFound):
                await round_.run(operation)
        with pytest.raises(Refused):
            await round_.run(TownOperations("other").task("x"))


@pytest.mark.parametrize("head", [b"*4294967295\r\n", b"*1000000000\r\n$1\r\nx\r\n", b"*2\r\n*4294967295\r\n"])
async def test_a_request_that_claims_to_be_huge_costs_its_own_connection_only(
    town_dir: TownDirectory, head: bytes
) -> None:
    async with open_round(town_dir) as round_:
        stream = await trio.open_unix_socket(parse_url(round_.url).path)
        async with stream:
            await stream.send_all(head)
            assert await round_.run(round_.operations.agents())


async def test_a_round_that_reads_no_replies_fills_no_memory_of_the_server(town_dir: TownDirectory) -> None:
    async def answered() -> int:
        info = (await round_.town.link.command("INFO", "commandstats")).decode()
        return int(next(iter(re.findall(r"cmdstat_hgetall:calls=(\d+)", info)), "0"))

    async with open_round(town_dir) as round_:
        await round_.town.run(round_.operations.set_plugin_field("rules", "long", "x" * 800_000))
        words = ["HGETALL", round_.operations.keys.plugin("rules")]
        url, before = parse_url(round_.url), await answered()
        async with await trio.open_unix_socket(url.path) as stream:
            await stream.send_all(packed("HELLO", "3", "AUTH", url.username or "", url.password or ""))
            await stream.send_all(packed(*words) * 1000)
            while (count := await answered() - before) < gateway._IN_FLIGHT:  # noqa: ASYNC110 - another program counts
                await trio.sleep(0.01)
        assert count == gateway._IN_FLIGHT


def packed(*words: str) -> bytes:
    return gateway._pack([word.encode() for word in words])
