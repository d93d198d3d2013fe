"""Agents that only talk to each other are stopped, and the supervisor hears of it."""

from __future__ import annotations

import pytest
import trio
from tinytown.contracts import Finished, Outcome, Report, Round
from tinytown.model.messages import Query
from tinytown.town import Town
from tinytown_ops.chatter.service import ChatterBrake
from tinytown_testing import check_service
from tinytown_testing.scripted_backend import ScriptedBackend
from tinytown_testing.towns import TownDirectory

pytestmark = pytest.mark.usefixtures("deadline")

LIMIT = 4


class Polite:
    """Answers each question with another one; in rounds of `busy` agents it adds a task."""

    def __init__(self) -> None:
        self.town: Town | None = None
        self.busy = set[str]()

    async def work(self, round_: Round, _: Report) -> Outcome:
        assert self.town is not None
        if round_.task is None:
            me = round_.messages[0].recipient
            if me in self.busy:
                await self.town.add_task("what came of it", tags=["later"])
            for message in round_.messages:
                await self.town.send(message.sender, Query(question="and you?"), sender=me)
        return Finished(text="done")


@pytest.fixture
def polite(town_dir: TownDirectory, scripted_backend: ScriptedBackend) -> Polite:
    town_dir.configure(f"[limits]\nchatter = {LIMIT}")
    polite = Polite()
    scripted_backend.script = polite.work
    return polite


def counts(backend: ScriptedBackend) -> dict[str, int]:
    names = [round_.messages[0].recipient for round_ in backend.rounds]
    return {name: names.count(name) for name in names}


async def test_two_polite_agents_are_stopped_and_the_supervisor_hears_of_it_once_each(
    town_dir: TownDirectory, scripted_backend: ScriptedBackend, polite: Polite
) -> None:
    async with town_dir.open() as town:
        polite.town = town
        ada, bea = [await town.spawn(name) for name in ("ada", "bea")]
        await town.send("bea", Query(question="how are you?"), sender="ada")
        await town.wait_until(lambda: town.run(town.operations.plugin_data("chatter")), lambda data: len(data) > 2)
        await town.wait_for_idle()
        letters = await town.wait_until(lambda: town.inbox("supervisor"), lambda found: len(found) > 1)
        said = f"has had {LIMIT} rounds in a row without a task"
        assert sorted(letter.text.partition(" ")[0] for letter in letters if said in letter.text) == ["ada", "bea"]
        assert all(count <= LIMIT + 2 for count in counts(scripted_backend).values())
        notice = await town.run(town.operations.plugin_field("chatter", "notice"))
        assert notice == "mail of other agents starts no rounds of ada, bea: they talked on without a task"
        # What the last to speak has asked waits. A task starts a round, which takes it along; mail counts anew from then on.
        waiting = {agent.id: agent.mail for agent in await town.agents()}
        assert all(mail.total == mail.with_next for mail in waiting.values())
        asked = max([ada, bea], key=lambda agent: waiting[agent.id].queries)
        before = len(scripted_backend.rounds)
        await town.wait_for_task((await asked.assign("work")).id)
        await town.wait_until(
            lambda: town.run(town.operations.plugin_data("chatter")), lambda data: asked.id not in data
        )
        first = scripted_backend.rounds[before]
        assert waiting[asked.id].queries > 0
        assert [message.type for message in first.messages].count("query") == waiting[asked.id].queries


async def test_a_persons_question_always_starts_a_round(
    town_dir: TownDirectory, scripted_backend: ScriptedBackend, polite: Polite
) -> None:
    async with town_dir.open() as town:
        polite.town = town
        ada = await town.spawn("ada")
        await town.run(town.operations.set_plugin_field("chatter", ada.id, "ada"))
        await town.send("ada", Query(question="so?"), sender="ada")
        await ada.wait_for_idle()
        assert scripted_backend.rounds == []
        await ada.send(Query(question="what is it?"))
        await scripted_backend.wait_for_rounds(1)
        assert len(scripted_backend.rounds[0].messages) == 2


async def test_agents_whose_talk_moves_tasks_are_not_stopped(
    town_dir: TownDirectory, scripted_backend: ScriptedBackend, polite: Polite
) -> None:
    polite.busy = {"ada", "bea"}
    async with town_dir.open() as town:
        polite.town = town
        for name in ("ada", "bea"):
            await town.spawn(name)
        await town.send("bea", Query(question="how are you?"), sender="ada")
        await scripted_backend.wait_for_rounds(4 * LIMIT)
        assert await town.run(town.operations.plugin_data("chatter")) == {}
        assert await town.inbox("supervisor") == ()


async def test_without_a_limit_nobody_is_stopped_and_who_was_is_free(
    town_dir: TownDirectory, scripted_backend: ScriptedBackend, polite: Polite
) -> None:
    town_dir.configure("[limits]\nchatter = 0")
    async with town_dir.connect() as town:
        await town.run(town.operations.set_plugin_field("chatter", "gone", "gone"))
    async with town_dir.open() as town:
        polite.town = town
        for name in ("ada", "bea"):
            await town.spawn(name)
        await town.wait_until(lambda: town.run(town.operations.plugin_data("chatter")), lambda data: not data)
        await town.send("bea", Query(question="how are you?"), sender="ada")
        await scripted_backend.wait_for_rounds(8 * LIMIT)


async def test_the_brake_keeps_the_promises_of_the_kit() -> None:
    (await check_service(lambda: ChatterBrake(20))).raise_if_broken()
    with trio.fail_after(60):
        (await check_service(lambda: ChatterBrake(0))).raise_if_broken()
