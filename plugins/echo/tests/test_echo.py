"""Rounds of an echo, under a clock that jumps."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tinytown_echo
import trio
from tinytown.config import Config, convert_settings
from tinytown.contracts import AgentBackend, AgentContext, AgentSession, Failed, Finished, Outcome, Round, Usage
from tinytown.errors import ConfigError
from tinytown.model.agents import Agent
from tinytown.model.messages import Body, Confirmation, Informational, Message, Query, TaskAssign, TaskOrder
from tinytown.model.tasks import Task
from tinytown.process import ProcessSupervisor
from trio.testing import MockClock


class Lines(list[str]):
    """A `Report` that keeps the lines."""

    def line(self, text: str) -> None:
        self.append(text)

    def usage(self, usage: Usage) -> None:
        raise AssertionError("an echo consumes nothing")


@asynccontextmanager
async def session(processes: ProcessSupervisor | None = None, **table: Any) -> AsyncGenerator[AgentSession]:
    settings = convert_settings(tinytown_echo.tinytown_settings_type(), table, Path("tinytown.toml"), "plugins.echo")
    (backend,) = tinytown_echo.tinytown_agent_backends(settings)
    assert isinstance(backend, AgentBackend)
    assert backend.kind == "echo"
    context = AgentContext(
        agent=Agent(id="a1", name="parrot", cli="echo"),
        config=Config(name="town"),
        root=Path.cwd(),
        state_directory=Path.cwd(),
        processes=processes or ProcessSupervisor(Path.cwd()),
    )
    async with backend.open(context) as opened:
        yield opened


def work(*bodies: Body, task: str | None = None) -> Round:
    return Round(
        round_id="r1",
        prompt="a long prompt that an echo does not read",
        task=Task(id="t1", description=task) if task is not None else None,
        messages=tuple(
            Message(id=str(n), sender="ann", recipient="parrot", body=body) for n, body in enumerate(bodies)
        ),
        directory=Path.cwd(),
        environment={},
        log_path=Path("log"),
    )


async def test_a_task_is_answered_with_its_text() -> None:
    lines = Lines()
    async with session() as parrot:
        outcome = await parrot.run_round(work(TaskAssign(task_id="t1"), task="say hello"), lines)
    assert outcome == Finished(text="echo: say hello")
    assert lines == ["echo: say hello"]


async def test_without_a_task_the_questions_are_answered_and_notes_are_not() -> None:
    mail = (Query(question="who?"), Informational(summary="it rains"), Confirmation(), TaskOrder(description="sing"))
    async with session(prefix="") as parrot:
        assert await parrot.run_round(work(*mail), Lines()) == Finished(text="who?\nsing")


async def test_the_first_rounds_of_each_session_fail_if_so_wished() -> None:
    for _ in range(2):
        async with session(fail_first=2) as parrot:
            outcomes = [await parrot.run_round(work(task="go"), Lines()) for _ in range(3)]
        assert outcomes == [
            Failed(reason="fail_first: 1 more failures to come"),
            Failed(reason="fail_first: 0 more failures to come"),
            Finished(text="echo: go"),
        ]


async def test_an_answer_takes_as_long_as_wished(autojump_clock: MockClock) -> None:
    async with session(delay_s=2.5) as parrot:
        began = trio.current_time()
        await parrot.run_round(work(task="go"), Lines())
        assert trio.current_time() - began == pytest.approx(2.5)


async def test_a_cancelled_answer_is_none(autojump_clock: MockClock) -> None:
    lines = Lines()
    async with session(delay_s=60) as parrot:
        with trio.move_on_after(1) as scope:
            await parrot.run_round(work(task="go"), lines)
    assert scope.cancelled_caught
    assert not lines


async def test_no_time_passes_while_the_town_is_frozen(autojump_clock: MockClock, tmp_path: Path) -> None:
    processes, outcomes = ProcessSupervisor(tmp_path), list[Outcome]()

    async def answer(parrot: AgentSession) -> None:
        outcomes.append(await parrot.run_round(replace(work(task="go"), timeout_s=4.0), Lines()))

    async with session(processes, delay_s=2.5) as parrot, trio.open_nursery() as nursery:
        nursery.start_soon(answer, parrot)
        await trio.sleep(2)
        processes.pause_all()
        await trio.sleep(3600)
        assert not outcomes
        processes.continue_all()
        began = trio.current_time()
    assert isinstance(outcomes[0], Finished)
    assert trio.current_time() - began == pytest.approx(0.5)


@pytest.mark.parametrize("limits", [{"timeout_s": 4.0}, {"silence_s": 4.0}, {"timeout_s": 4.0, "silence_s": 9.0}])
async def test_a_round_that_takes_too_long_has_failed(autojump_clock: MockClock, limits: dict[str, float]) -> None:
    async with session(delay_s=60) as parrot:
        outcome = await parrot.run_round(replace(work(task="go"), **limits), Lines())
    assert outcome == Failed(reason="no answer within 4 s, the limit of a round")


@pytest.mark.parametrize("table", [{"delay_s": -1}, {"fail_first": "twice"}, {"echo": "e"}])
def test_settings_that_make_no_sense_are_named(table: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"plugins\.echo\.{next(iter(table))}"):
        convert_settings(tinytown_echo.Settings, table, Path("tinytown.toml"), "plugins.echo")


def test_settings_cannot_be_changed_later() -> None:
    assert tinytown_echo.Settings.__struct_config__.frozen
    assert [field.name for field in msgspec.structs.fields(tinytown_echo.Settings)] == [
        "prefix",
        "delay_s",
        "fail_first",
    ]
