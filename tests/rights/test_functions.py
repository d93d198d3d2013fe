"""Every function of the server as every kind of caller: who is let through by the gateway, and who is not."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from tinytown.config import Permissions
from tinytown.errors import TinytownError
from tinytown.model.messages import Informational, TaskOrder
from tinytown.protocol import TOWN_LIBRARY, FunctionLibrary, Operation, TownOperations, load_library
from tinytown.redis import parse_url
from tinytown.town import Town
from tinytown_authority.gateway import Gateway
from tinytown_authority.settings import Settings
from tinytown_cli import administration
from tinytown_cli.blocking_client import BlockingClient
from tinytown_ops.doctor import reclaim_operation
from tinytown_snapshots import functions as snapshots
from tinytown_testing.towns import TownDirectory

pytestmark = [pytest.mark.usefixtures("deadline"), pytest.mark.deadline_s(120)]

LIBRARIES: tuple[FunctionLibrary, ...] = (
    TOWN_LIBRARY,
    administration.LIBRARY,
    reclaim_operation.LIBRARY,
    snapshots.LIBRARY,
)


@dataclass(frozen=True)
class Kind:
    """A kind of caller. ``full`` is an agent that nothing confines; `conducts`, one whose role is a conductor's."""

    permissions: Permissions = "full"
    conducts: bool = False


CALLERS = {
    "full": Kind(),
    "write": Kind("write"),
    "read": Kind("read"),
    "conductor": Kind(conducts=True),
    "confined conductor": Kind("write", conducts=True),
}
NOBODY: frozenset[str] = frozenset()
EVERYBODY = frozenset(CALLERS)
UNCONFINED = frozenset({"full", "conductor"})
CONDUCTORS = frozenset({"conductor", "confined conductor"})
CONDUCTOR = frozenset({"conductor"})


@dataclass
class Setting:
    """A town with ada, who calls, bob, who may do everything, and a task of each, a free one and a finished one."""

    town: Town
    url: str
    ids: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def make(self) -> TownOperations:
        return self.town.operations

    async def code(self, operation: Operation[Any]) -> str:
        """The code with which it is refused; empty if it is answered."""

        def ask() -> str:
            with BlockingClient(parse_url(self.url)) as client:
                try:
                    client.run(operation)
                except TinytownError as error:
                    return error.code
                return ""

        return await trio.to_thread.run_sync(ask)


Case = Callable[[Setting], Operation[Any]]

#: What is tried, and who may: its function, whom or what it is about -> operation, kinds of callers.
CASES: Mapping[str, tuple[Case, frozenset[str]]] = {
    "status": (lambda at: at.make.status(), EVERYBODY),
    "hosts": (lambda at: at.make.hosts(), EVERYBODY),
    "agent_get": (lambda at: at.make.agent("bob"), EVERYBODY),
    "agent_list": (lambda at: at.make.agents(), EVERYBODY),
    "task_get": (lambda at: at.make.task(at.ids["bob"]), EVERYBODY),
    "task_list": (lambda at: at.make.tasks(), EVERYBODY),
    "task_current": (lambda at: administration.current_task(at.make.keys, "bob"), EVERYBODY),
    "trace": (lambda at: administration.trace(at.make.keys, "x"), EVERYBODY),
    "rounds": (lambda at: administration.rounds(at.make.keys), EVERYBODY),
    "town_setup": (lambda at: at.make.setup({}), EVERYBODY),
    "town_setup with settings": (lambda at: at.make.setup({"max_agents": 1}), NOBODY),
    "peek at its own": (lambda at: at.make.peek("ada"), EVERYBODY),
    "peek at another's": (lambda at: at.make.peek("bob"), CONDUCTORS),
    "peek at the supervisor's": (lambda at: at.make.peek("supervisor"), CONDUCTORS),
    "mailbox_message of its own": (lambda at: administration.find_message(at.make, "ada", "x"), EVERYBODY),
    "mailbox_message of another": (lambda at: administration.find_message(at.make, "bob", "x"), CONDUCTORS),
    "dead_list": (lambda at: administration.dead_letters(at.make.keys), CONDUCTORS),
    "send news": (lambda at: at.make.send("bob", Informational(summary="x")), EVERYBODY),
    "send an order to a person": (lambda at: at.make.send("supervisor", TaskOrder(description="x")), EVERYBODY),
    "send an order to one with more rights": (lambda at: at.make.send("bob", TaskOrder(description="x")), UNCONFINED),
    "task_settle its own": (lambda at: at.make.settle_task("submit", at.ids["ada"], text="x"), EVERYBODY),
    "task_settle another's": (lambda at: at.make.settle_task("submit", at.ids["bob"], text="x"), NOBODY),
    "task_settle past the gates": (lambda at: at.make.settle_task("complete", at.ids["free"], text="x"), NOBODY),
    "task_settle by calling off another's": (lambda at: at.make.settle_task("cancel", at.ids["off"]), CONDUCTORS),
    "task_add to the backlog": (lambda at: at.make.add_task("x"), EVERYBODY),
    "task_add for itself": (lambda at: at.make.add_task("x", agent="ada"), EVERYBODY),
    "task_add for one with more rights": (lambda at: at.make.add_task("x", agent="bob"), UNCONFINED),
    "task_add as finished": (lambda at: at.make.add_task("x", finished="completed"), NOBODY),
    "task_assign a free one to itself": (lambda at: at.make.assign_task(at.ids["free"], "ada"), EVERYBODY),
    "task_assign a free one to one with more rights": (
        lambda at: at.make.assign_task(at.ids["given"], "bob"),
        UNCONFINED,
    ),
    "task_assign another's to itself": (lambda at: at.make.assign_task(at.ids["bob"], "ada"), CONDUCTORS),
    "backlog_claim for itself": (lambda at: at.make.claim_from_backlog(at.ids["claimed"], "ada"), EVERYBODY),
    "task_meta of its own": (lambda at: administration.set_task_meta(at.make.keys, at.ids["ada"], "bd", {}), EVERYBODY),
    "task_meta of a free one": (
        lambda at: administration.set_task_meta(at.make.keys, at.ids["other"], "bd", {}),
        UNCONFINED,
    ),
    "task_meta of another's": (
        lambda at: administration.set_task_meta(at.make.keys, at.ids["bobs"], "bd", {}),
        CONDUCTOR,
    ),
    "task_meta of a plugin that is not listed": (
        lambda at: administration.set_task_meta(at.make.keys, at.ids["ada"], "formula", {}),
        NOBODY,
    ),
    "task_meta of a plugin that is not listed, removed": (
        lambda at: administration.set_task_meta(at.make.keys, at.ids["ada"], "formula", None),
        NOBODY,
    ),
    "task_hold its own": (lambda at: administration.hold_task(at.make.keys, at.ids["ada"], reason="x"), EVERYBODY),
    "task_hold a free one": (
        lambda at: administration.hold_task(at.make.keys, at.ids["other"], reason="x"),
        UNCONFINED,
    ),
    "task_hold another's": (lambda at: administration.hold_task(at.make.keys, at.ids["bobs"], reason="x"), CONDUCTOR),
    "task_release its own": (lambda at: administration.release_task(at.make.keys, at.ids["ada"]), EVERYBODY),
    "task_release a free one": (lambda at: administration.release_task(at.make.keys, at.ids["other"]), UNCONFINED),
    "task_update its own": (lambda at: administration.update_task(at.make, at.ids["ada"], title="x"), EVERYBODY),
    "task_update a free one": (lambda at: administration.update_task(at.make, at.ids["other"], title="x"), UNCONFINED),
    "task_update another's": (lambda at: administration.update_task(at.make, at.ids["bobs"], title="x"), CONDUCTOR),
    "task_need of a free one": (
        lambda at: administration.add_need(at.make.keys, at.ids["other"], at.ids["ada"]),
        UNCONFINED,
    ),
    "task_requeue its own": (lambda at: administration.requeue_task(at.make.keys, at.ids["ada"]), UNCONFINED),
    "task_requeue another's": (lambda at: administration.requeue_task(at.make.keys, at.ids["bobs"]), CONDUCTOR),
    "task_reopen": (lambda at: administration.reopen_task(at.make.keys, at.ids["done"], reason="x"), CONDUCTOR),
    "agent_create of a kind that is allowed": (lambda at: at.make.create_agent("eve", cli="shell"), CONDUCTORS),
    "agent_create of one with more rights": (lambda at: at.make.create_agent("carl", cli="shell"), CONDUCTOR),
    "agent_create of another kind": (lambda at: at.make.create_agent("mallory", cli="claude"), NOBODY),
    "plugin_set of a plugin that is listed": (lambda at: at.make.set_plugin_field("beads", "x", 1), EVERYBODY),
    "plugin_set of another plugin": (lambda at: at.make.set_plugin_field("gastown", "x", 1), NOBODY),
    "emit an event of a plugin": (lambda at: at.make.emit("x", {}), EVERYBODY),
    "emit an event of the town": (lambda at: at.make.emit("agent_removed", {"agent": "bob"}), NOBODY),
}


def registered(library: FunctionLibrary) -> set[str]:
    """The functions of a library, from its own source."""
    source = library.source()
    own = source.rpartition("EXTENDED = false")[2] if "EXTENDED = false" in source else source
    return set(re.findall(r"^register(?:_once)?\('(\w+)'", own, re.MULTILINE))


@asynccontextmanager
async def open_setting(town_dir: TownDirectory, kind: Kind) -> AsyncGenerator[Setting]:
    town_dir.configure('[roles.lead]\nauthority = "conductor"\n')
    async with town_dir.connect() as town:
        make = town.operations
        ada = await town.run(make.create_agent("ada", cli="shell", role="lead" if kind.conducts else ""))
        await town.run(make.create_agent("bob", cli="shell"))
        for library in LIBRARIES:
            await town.run(load_library(library))
        ids: dict[str, str] = {}
        owners = {"ada": "ada", "bob": "bob", "bobs": "bob", "done": "bob"}
        for name in ("ada", "bob", "bobs", "free", "given", "claimed", "other", "off", "done"):
            ids[name] = (await town.run(make.add_task(name, agent=owners.get(name, "")))).task.id
        await town.run(make.settle_task("complete", ids["done"], text="x"))
        access = Gateway(Settings(spawn=("shell",)))
        task = await town.task(ids["ada"])
        permissions: dict[str, Permissions] = {"ada": kind.permissions, "eve": kind.permissions}
        async with access.open(town, ada, [task], lambda agent: permissions.get(agent.name, "full")) as url:
            yield Setting(town, url, ids)


@pytest.mark.parametrize("caller", CALLERS)
async def test_every_function_lets_through_who_may_call_it(town_dir: TownDirectory, caller: str) -> None:
    async with open_setting(town_dir, CALLERS[caller]) as setting:
        let_through = {name for name, (case, _) in CASES.items() if await setting.code(case(setting)) != "not_allowed"}
        assert let_through == {name for name, (_, callers) in CASES.items() if caller in callers}


@pytest.mark.parametrize("caller", CALLERS)
async def test_functions_that_are_not_in_the_table_are_nobodys(town_dir: TownDirectory, caller: str) -> None:
    tried = {name.partition(" ")[0] for name in CASES}
    async with open_setting(town_dir, CALLERS[caller]) as setting:
        others = [(library, name) for library in LIBRARIES for name in registered(library) - tried]
        assert len(others) > 30
        for library, name in others:
            for arguments in ((), ("x",) * 8):
                command = ("FCALL", library.function(name), 1, setting.make.keys.base, *arguments)
                assert await setting.code(Operation(command, str)) == "not_allowed", name


async def test_a_person_calls_all_of_them(town_dir: TownDirectory) -> None:
    async with open_setting(town_dir, Kind()) as setting:
        for name, (case, _) in CASES.items():
            try:
                await setting.town.run(case(setting))
            except TinytownError as error:
                assert error.code != "not_allowed", name  # noqa: PT017 - the state may refuse what the one before did
