"""A round of an agent, as its processes see it: a socket of the gateway on a real server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
import trio
from tinytown.config import Permissions
from tinytown.errors import Refused
from tinytown.model.agents import Agent
from tinytown.model.tasks import Task
from tinytown.protocol import TOWN_LIBRARY, Operation, TownOperations
from tinytown.redis import parse_url
from tinytown.town import Town
from tinytown_authority.gateway import Gateway
from tinytown_authority.settings import Settings
from tinytown_cli.blocking_client import BlockingClient
from tinytown_testing.towns import TownDirectory

T = TypeVar("T")


class Round:
    """A round of ada on a task of hers, in a town where bob has a task too, and one lies on the backlog."""

    def __init__(
        self, town: Town, url: str, ada: Agent, bob: Agent, tasks: dict[str, Task], permissions: dict[str, Permissions]
    ) -> None:
        self.town = town
        self.url = url
        self.ada, self.bob = ada, bob
        self.tasks = tasks
        self.permissions = permissions
        self.operations: TownOperations = town.operations

    async def run(self, operation: Operation[T]) -> T:
        """The answer to an operation, asked as a process of the round does."""

        def ask() -> T:
            with BlockingClient(parse_url(self.url)) as client:
                return client.run(operation)

        return await trio.to_thread.run_sync(ask)

    async def command(self, *words: Any) -> Any:
        def ask() -> Any:
            with BlockingClient(parse_url(self.url)) as client:
                return client.command(*words)

        return await trio.to_thread.run_sync(ask)

    async def call(self, function: str, *arguments: Any) -> Any:
        """The reply of a function of the town's library, called without the checks of a client."""
        return await self.command("FCALL", TOWN_LIBRARY.function(function), 1, self.operations.keys.base, *arguments)

    async def refused(self, operation: Operation[Any]) -> str:
        with pytest.raises(Refused) as raised:
            await self.run(operation)
        assert raised.value.code == "not_allowed"
        return raised.value.message

    async def state(self, name: str) -> str:
        return (await self.town.task(self.tasks[name].id)).state


@asynccontextmanager
async def open_round(
    town_dir: TownDirectory, *, conducts: bool = False, permissions: Permissions = "full", **settings: Any
) -> AsyncGenerator[Round]:
    with (town_dir.root / "tinytown.toml").open("a") as file:
        file.write('[roles.lead]\nauthority = "conductor"\n')
    role = "lead" if conducts else "plain"
    async with town_dir.connect() as town:
        operations = town.operations
        ada = await town.run(operations.create_agent("ada", cli="shell", role=role))
        bob = await town.run(operations.create_agent("bob", cli="shell"))
        tasks: dict[str, Task] = {}
        for name, agent in (("ada", "ada"), ("bob", "bob"), ("free", "")):
            tasks[name] = (await town.run(operations.add_task(f"the task of {name}", agent=agent))).task
        permissions_of: dict[str, Permissions] = {"ada": permissions}
        access = Gateway(Settings(**settings)).open(
            town, ada, [tasks["ada"]], lambda agent: permissions_of.get(agent.name, "full")
        )
        async with access as url:
            yield Round(town, url, ada, bob, tasks, permissions_of)
