"""What every way of a round to its town promises (U1, U2, ...), and how each promise is tried: over the URL, as a process of
the round does, in a town with a server of its own and without a kernel.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, Unpack

import msgspec
import trio
from tinytown.contracts import RoundAccess
from tinytown.errors import Refused, TinytownError
from tinytown.model.agents import Agent
from tinytown.model.ids import new_id
from tinytown.model.messages import Informational
from tinytown.model.tasks import Task
from tinytown.protocol import Operation
from tinytown.redis import address_of, parse_url
from tinytown.town import Town
from tinytown_cli import administration
from tinytown_cli.blocking_client import BlockingClient

from tinytown_testing.contract_checks import CheckOptions, check_connected_promises
from tinytown_testing.promises import Broken, CheckReport, Contract
from tinytown_testing.trial import CANCELLED_AT_STEPS, Trial, check_word, expect

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OpenRound:
    """A round of `agent` on its `task`, whose processes find the town at `url`; `other` has a task of another agent."""

    url: str
    agent: Agent
    task: Task
    other: Task


@dataclass(slots=True)
class RoundAccessTrial(Trial):
    """One attempt at one promise of a way to the town."""

    make: Callable[[], RoundAccess]
    town: Town

    @asynccontextmanager
    async def round(self, access: RoundAccess | None = None) -> AsyncGenerator[OpenRound]:
        """A round of a new agent, which may do everything on the machine, until the block is left."""
        access = access or self.make()
        make, name = self.town.operations, new_id()[:8]
        agent, other = [
            await self.town.run(make.create_agent(f"{each}-{name}", cli="bench")) for each in ("ada", "bob")
        ]
        tasks = [(await self.town.run(make.add_task("do it", agent=each.name))).task for each in (agent, other)]
        async with access.open(self.town, agent, tasks[:1], lambda _: "full") as url:
            expect(url, str, "as the URL")
            yield OpenRound(url, agent, tasks[0], tasks[1])

    async def ask(self, url: str, operation: Operation[T]) -> T:
        """The answer to a process of the round."""

        def run() -> T:
            with BlockingClient(parse_url(url)) as client:
                return client.run(operation)

        return await trio.to_thread.run_sync(run)


ROUND_ACCESS = Contract[RoundAccessTrial]("round access")


async def check_round_access(make: Callable[[], RoundAccess], **options: Unpack[CheckOptions]) -> CheckReport:
    """Check the ways of rounds to their town that `make` makes. The options are those of every check, see `CheckOptions`.

    Raises: ServerUnreachable if no embedded server can be started.
    """
    return await check_connected_promises(
        ROUND_ACCESS,
        lambda sandbox, slack_s, town: RoundAccessTrial(sandbox, slack_s, make, town),
        name=lambda: make().name,
        **options,
    )


@ROUND_ACCESS.promise("U1", "Its name is a word that can be typed and stored.")
async def _name(trial: RoundAccessTrial) -> None:
    check_word("name", trial.make().name)


@ROUND_ACCESS.promise("U2", "Under the URL a round sees its town, and adds work to it.")
async def _works(trial: RoundAccessTrial) -> None:
    async with trial.round() as opened:
        make = trial.town.operations
        names = {agent.name for agent in await trial.ask(opened.url, make.agents())}
        if opened.agent.name not in names:
            raise Broken(f"expected the agent {opened.agent.name} among the town's, got {', '.join(sorted(names))}")
        added = await trial.ask(opened.url, make.add_task("found on the way"))
        if (await trial.town.task(added.task.id)).description != "found on the way":
            raise Broken("a task that the round added has another text")


@ROUND_ACCESS.promise(
    "U3", "What a round sends comes from its agent, no matter which sender it names.", requires=("U2",)
)
async def _sender(trial: RoundAccessTrial) -> None:
    async with trial.round() as opened:
        make = trial.town.operations
        await trial.ask(
            opened.url, make.send(opened.other.assigned_to or "", Informational(summary="x"), sender="supervisor")
        )
        mail = await trial.town.run(make.peek(opened.other.assigned_to or ""))
        senders = {
            entry.message.sender
            for entry in mail.messages
            if entry.message and isinstance(entry.message.body, Informational)
        }
        if senders & {"supervisor"} or not senders:
            raise Broken(f"expected mail from {opened.agent.name}, got senders {senders or 'none'}")


@ROUND_ACCESS.promise("U4", "A round is refused what only people may do, and nothing changes.", requires=("U2",))
async def _refused(trial: RoundAccessTrial) -> None:
    make = trial.town.operations
    async with trial.round() as opened:
        forbidden: dict[str, Operation[Any]] = {
            "freeze the town": administration.freeze(make.keys, reason="x"),
            "complete the task of another": make.settle_task("complete", opened.other.id, text="x"),
            "stop another agent": make.set_desired_state(opened.other.assigned_to or "", "stopped"),
            "remove another agent": administration.remove_agent(make.keys, opened.other.assigned_to or "", force=True),
            "change budgets": make.set_budgets({"town_usd": 1}),
            "send the server any command": Operation(("SET", f"{make.keys.base}:x", "x"), str),
            "configure the server": Operation(("CONFIG", "SET", "maxmemory", "0"), str),
        }
        for what, operation in forbidden.items():
            try:
                await trial.ask(opened.url, operation)
            except Refused:
                continue
            except TinytownError as error:
                raise Broken(f"a round that wants to {what} gets {type(error).__name__}, not Refused") from error
            raise Broken(f"a round can {what}")
        if (await trial.town.task(opened.other.id)).state != "assigned" or (await trial.town.status()).frozen:
            raise Broken("what was refused has changed the town all the same")


@ROUND_ACCESS.promise(
    "U5", "The URL opens nothing but its round: not the server, and not without its token.", requires=("U2",)
)
async def _closed(trial: RoundAccessTrial) -> None:
    server = address_of(trial.town.root, trial.town.config)
    access = trial.make()  # as a kernel has one for all rounds
    async with trial.round(access) as opened, trial.round(access) as another:
        address = parse_url(opened.url)
        if (address.host, address.port, address.path) == (server.host, server.port, server.path):
            raise Broken("the URL is that of the server")
        if opened.url == another.url:
            raise Broken("two rounds have the same URL")
        stranger = msgspec.structs.replace(address, username=None, password=None)
        if await trio.to_thread.run_sync(_lets_in, stranger):
            raise Broken("it lets in who shows no token")
        stranger = msgspec.structs.replace(address, password=f"{address.password}x")
        if await trio.to_thread.run_sync(_lets_in, stranger):
            raise Broken("it lets in who shows a wrong token")


@ROUND_ACCESS.promise("U6", "When the block is left, its URL is of no use any more.", requires=("U2",))
async def _ends(trial: RoundAccessTrial) -> None:
    async with trial.round() as opened:
        pass
    if await trio.to_thread.run_sync(_lets_in, parse_url(opened.url)):
        raise Broken("it lets a process in whose round has ended")


@ROUND_ACCESS.promise("U7", "Cancelled at any moment, it ends promptly and leaves nothing behind.", requires=("U2",))
async def _cancelled(trial: RoundAccessTrial) -> None:
    agent = await trial.town.run(trial.town.operations.create_agent(f"ada-{new_id()[:8]}", cli="bench"))

    async def run() -> None:
        async with trial.make().open(trial.town, agent, (), lambda _: "full"):
            await trio.sleep_forever()

    async with trial.expect_no_leaks("a way to the town that was cancelled"):
        for step in CANCELLED_AT_STEPS:
            await trial.cancel_and_wait("the way to the town", run, at_step=step, when=partial(trio.sleep, 0.03))


def _lets_in(address: Any) -> bool:
    with BlockingClient(address) as client:
        try:
            client.command("PING")
        except TinytownError:
            return False
        return True
